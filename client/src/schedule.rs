//! Calls about schedules.

use orchd_api::{Schedule, ScheduleNamed, routes};
use orchd_model::ScheduleSpec;

use crate::connection::Call;
use crate::{Client, Error};

impl Client {
    /// Adds a schedule.
    ///
    /// # Errors
    /// A refusal (`conflict` when there is one of its name), or no connection.
    pub async fn add_schedule(&self, spec: &ScheduleSpec) -> Result<Schedule, Error> {
        self.transport.ask(Call::post(routes::SCHEDULES, spec)?).await
    }

    /// Every schedule, by name.
    ///
    /// # Errors
    /// A refusal, or no connection.
    pub async fn schedules(&self) -> Result<Vec<Schedule>, Error> {
        self.transport.ask(Call::get(routes::SCHEDULES)).await
    }

    /// Forgets a schedule, by its name or id. Its runs go on.
    ///
    /// # Errors
    /// A refusal, or no connection.
    pub async fn remove_schedule(&self, schedule: &str) -> Result<Schedule, Error> {
        self.about(routes::SCHEDULES_REMOVE, schedule, false).await
    }

    /// No ticks of a schedule until it is resumed.
    ///
    /// # Errors
    /// A refusal, or no connection.
    pub async fn pause_schedule(&self, schedule: &str) -> Result<Schedule, Error> {
        self.about(routes::SCHEDULES_PAUSE, schedule, true).await
    }

    /// Ticks of a schedule again, from now on.
    ///
    /// # Errors
    /// A refusal, or no connection.
    pub async fn resume_schedule(&self, schedule: &str) -> Result<Schedule, Error> {
        self.about(routes::SCHEDULES_RESUME, schedule, true).await
    }

    /// A run of a schedule now, beside the ticks of its calendar. Its rule for overlapping runs holds.
    ///
    /// # Errors
    /// A refusal, also of the run, or no connection.
    pub async fn run_schedule(&self, schedule: &str) -> Result<Schedule, Error> {
        self.about(routes::SCHEDULES_RUN, schedule, false).await
    }

    async fn about(&self, route: &str, schedule: &str, repeatable: bool) -> Result<Schedule, Error> {
        let named = ScheduleNamed { schedule: schedule.to_owned() };
        self.transport.ask(Call::post(route, &named)?.repeatable(repeatable)).await
    }
}
