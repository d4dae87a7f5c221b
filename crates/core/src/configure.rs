//! What an operator changes while the scheduler runs. None of it is a fact: a restart reads the configuration
//! again.

use orchd_model::{ResourceName, ResourceSetting, WorkerId};

use crate::core::{Config, Core};

impl Core {
    /// Goes on with another configuration. The lease and the seed stay as they are: workers were told one, and
    /// the other only makes delays differ from daemon to daemon. What an operator has set by a command wins
    /// over what is configured, as at the start.
    ///
    /// A quantity or a rate that is no longer configured is given to nobody from now on: tasks that claim it show
    /// that.
    pub(crate) fn reconfigure(&mut self, config: Config) {
        let former = std::mem::take(&mut self.config);
        self.config = Config { lease: former.lease, seed: former.seed, ..config };
        self.placements_doubted = true;
        self.workers.set_ahead(self.config.ahead);
        self.queues.grace = self.config.grace;
        if former.aging != self.config.aging {
            self.set_aging();
        }
        let changed: Vec<_> =
            self.config.resources.iter().filter(|new| !former.resources.contains(new)).cloned().collect();
        let kept = |name: &ResourceName| self.config.resources.iter().any(|(other, _)| other == name);
        let gone = former.resources.iter().map(|(name, _)| name.clone()).filter(|name| !kept(name));
        let gone: Vec<_> = gone.map(|name| (name, None)).collect();
        for (name, setting) in changed.into_iter().map(|(name, setting)| (name, Some(setting))).chain(gone) {
            self.reconfigure_resource(&name, setting);
        }
    }

    fn set_aging(&mut self) {
        for queue in self.queues.set_aging(self.config.aging, self.now, &mut self.ledger) {
            self.watch_aging(queue);
        }
    }

    fn reconfigure_resource(&mut self, name: &ResourceName, setting: Option<ResourceSetting>) {
        let set = self.meta.resources.iter().find(|(set, _)| set == name).map(|(_, set)| set);
        let is_configured = setting.is_some() || set.is_some();
        let setting = setting.unwrap_or_default();
        let setting = set.map_or(setting.clone(), |set| setting.overlaid(set));
        let index = self.resource(name);
        self.ledger.reconfigure(index, setting, is_configured, self.now);
        self.reconsider(index);
        if self.ledger.exists(index) {
            self.note_state(name, index);
        }
    }

    /// A worker has another number of slots from now on. Attempts beyond it run to their end.
    pub(crate) fn resize(&mut self, worker: WorkerId, slots: u32) {
        self.workers.resize(worker, slots);
        self.note_service();
    }
}
