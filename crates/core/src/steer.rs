//! What happens to resources while the scheduler runs: they are set, closed and opened, told to wait by whoever
//! was told so himself, and put right where more or less was used than drawn.

use orchd_model::{
    Amount, Code, Refusal, ResourceKind, ResourceName, ResourceSetting, Span, TaskId, Time, Token,
};

use crate::command::Reply;
use crate::core::{Core, Output};
use crate::event::Fact;
use crate::ledger::ResourceIndex;
use crate::record::Phase;
use crate::resource::ResourceKey;
use crate::resource_state::ResourceState;
use crate::timer::Timer;

impl Core {
    /// Where a resource is; it comes into being if it does not exist.
    pub(crate) fn resource(&mut self, name: &ResourceName) -> ResourceIndex {
        self.ledger.intern(&ResourceKey::Named(name.clone()))
    }

    pub(crate) fn set_resource(
        &mut self,
        resource: ResourceName,
        setting: ResourceSetting,
        out: &mut Output,
    ) -> Result<Reply, Refusal> {
        let former = self.ledger.find(&ResourceKey::Named(resource.clone()));
        let former = former.map(|index| self.ledger.get(index).setting.clone()).unwrap_or_default();
        former.overlaid(&setting).check(&resource)?;
        self.emit(out, Fact::ResourceSet { resource, setting: Box::new(setting) });
        Ok(Reply::Done)
    }

    /// Nobody gets the resource for a while; an attempt may say so of what it claims.
    pub(crate) fn throttle(
        &mut self,
        resource: ResourceName,
        pause: Span,
        by: Option<Token>,
        create: bool,
        out: &mut Output,
    ) -> Result<Reply, Refusal> {
        let task = by.map(|token| self.claimant(token, &resource)).transpose()?;
        self.check_known(&resource, create)?;
        let until = self.now + pause;
        let former = self.meta.states.get(&resource).and_then(|state| state.throttled_until);
        // Who was told to wait longer knows better; an operator has the last word.
        let until = former.filter(|former| task.is_some() && *former > until).unwrap_or(until);
        self.emit(out, Fact::Throttled { resource, until, task });
        Ok(Reply::Done)
    }

    pub(crate) fn close(
        &mut self,
        resource: ResourceName,
        create: bool,
        out: &mut Output,
    ) -> Result<Reply, Refusal> {
        self.check_known(&resource, create)?;
        if self.meta.states.get(&resource).is_some_and(|state| state.closed) {
            let refusal = Refusal::new(Code::WrongState, "this resource is closed already");
            return Err(refusal.value(resource.to_string()));
        }
        self.emit(out, Fact::Closed { resource });
        Ok(Reply::Done)
    }

    pub(crate) fn open(&mut self, resource: ResourceName, out: &mut Output) -> Result<Reply, Refusal> {
        let now = self.now;
        let is_shut =
            |state: &ResourceState| state.closed || state.throttled_until.is_some_and(|until| until > now);
        if !self.meta.states.get(&resource).is_some_and(is_shut) {
            self.check_exists(&resource, "")?;
            let refusal = Refusal::new(Code::WrongState, "this resource is neither closed nor throttled");
            return Err(refusal.value(resource.to_string()));
        }
        self.emit(out, Fact::Opened { resource });
        Ok(Reply::Done)
    }

    /// An attempt says how many tokens it has really used.
    pub(crate) fn settle_tokens(
        &mut self,
        token: Token,
        resource: ResourceName,
        used: Amount,
        out: &mut Output,
    ) -> Result<Reply, Refusal> {
        let task = self.claimant(token, &resource)?;
        let index = self.resource(&resource);
        let held = self.ledger.get(index);
        let Some((rate, bucket)) = held.rate(self.now) else {
            let refusal =
                Refusal::new(Code::WrongState, "only a rate is settled, and this resource has none");
            return Err(refusal.value(resource.to_string()));
        };
        let drawn = held.holders.get(&task).map_or(Amount::ZERO, |hold| hold.amount);
        let paid_at = bucket.with(drawn, rate).without(used).ready_at(Amount::ZERO, rate);
        if paid_at.since(self.now) > Span::MAX {
            let refusal = Refusal::new(Code::Malformed, "so many tokens do not come in a hundred years");
            return Err(refusal.value(used.to_string()).hint(format!("{resource} gets {rate}")));
        }
        self.emit(out, Fact::Settled { resource, task, drawn, used });
        Ok(Reply::Done)
    }

    /// The task whose running attempt has this token, if it claims the resource.
    fn claimant(&self, token: Token, resource: &ResourceName) -> Result<TaskId, Refusal> {
        let task = self
            .tokens
            .get(&token)
            .copied()
            .filter(|id| matches!(self.task(*id).phase, Phase::Running { .. }));
        let Some(task) = task else {
            let refusal = Refusal::new(Code::StaleToken, "no attempt with this token is running");
            return Err(refusal.value(token.to_string()));
        };
        if self.claims_held_by(task).iter().any(|claim| claim.resource == *resource) {
            return Ok(task);
        }
        let refusal = Refusal::new(Code::WrongState, format!("task {task} does not claim this resource"));
        Err(refusal.value(resource.to_string()))
    }

    /// A lock is there as long as somebody uses it, or something is said of it. One that is not there may be meant,
    /// or mistyped: that is for the user to say.
    pub(crate) fn check_known(&self, resource: &ResourceName, create: bool) -> Result<(), Refusal> {
        match resource.counted_as() == ResourceKind::Lock {
            true if create => Ok(()),
            true => self.check_exists(resource, "; if nobody has used it yet, add --create"),
            false => self.check_exists(resource, ""),
        }
    }

    fn check_exists(&self, resource: &ResourceName, before_use: &str) -> Result<(), Refusal> {
        if self.ledger.find(&ResourceKey::Named(resource.clone())).is_some() {
            return Ok(());
        }
        let names: Vec<ResourceName> = self.resources().into_iter().map(|view| view.name).collect();
        let hint = match nearest_resource(resource, &names) {
            Some(near) => format!("did you mean {near}?"),
            None => "orchctl resources lists them".to_owned(),
        };
        let refusal = Refusal::new(Code::NotFound, "no such resource").value(resource.to_string());
        Err(refusal.hint(hint + before_use))
    }

    pub(crate) fn apply_resource_set(&mut self, resource: &ResourceName, setting: &ResourceSetting) {
        let index = self.resource(resource);
        self.ledger.configure(index, setting, self.now);
        self.reconsider(index);
        self.note_state(resource, index);
        match self.meta.resources.iter_mut().find(|(name, _)| name == resource) {
            // What is not said stays, over a restart, too.
            Some((_, kept)) => *kept = kept.overlaid(setting),
            None => self.meta.resources.push((resource.clone(), setting.clone())),
        }
    }

    pub(crate) fn apply_throttled(&mut self, resource: &ResourceName, until: Time, task: Option<TaskId>) {
        self.change_state(resource, |state| state.throttled_until = Some(until));
        let phase = task.map(|id| &self.task(id).phase);
        if let Some(Phase::Running { token, .. }) = phase {
            self.meta.told_to_wait.insert(*token, until);
        }
    }

    /// Changes what is known of a resource.
    pub(crate) fn change_state(&mut self, resource: &ResourceName, change: impl FnOnce(&mut ResourceState)) {
        let index = self.resource(resource);
        let mut state = self.ledger.state(index);
        change(&mut state);
        self.ledger.set_state(index, state);
        if self.ledger.exists(index) {
            self.note_state(resource, index);
            self.reconsider(index);
        } else {
            self.meta.states.remove(resource);
        }
    }

    /// More or less was used than drawn.
    pub(crate) fn apply_settled(&mut self, resource: &ResourceName, task: TaskId, used: Amount) {
        let index = self.resource(resource);
        self.ledger.settle(index, task, used, self.now);
        if let Phase::Running { token, .. } = self.task(task).phase {
            self.meta.settled.entry(token).or_default().insert(resource.clone(), used);
        }
        self.note_state(resource, index);
    }

    /// Draws the tokens that a task takes when it starts.
    pub(crate) fn draw_tokens(&mut self, id: TaskId) {
        for need in self.needs_of(id).to_vec() {
            if self.ledger.draw(need, self.now)
                && let ResourceKey::Named(name) = self.ledger.get(need.resource).key.clone()
            {
                self.note_state(&name, need.resource);
            }
        }
    }

    /// Keeps what is known of a resource for a restart.
    pub(crate) fn note_state(&mut self, resource: &ResourceName, index: ResourceIndex) {
        let state = self.ledger.state(index);
        if let Some(until) = state.throttled_until {
            self.timers.set_earlier(Timer::Resource(index), until);
        }
        if state == ResourceState::default() {
            self.meta.states.remove(resource);
        } else {
            self.meta.states.insert(resource.clone(), state);
        }
    }

    /// An instant that a resource was waited for has come.
    pub(crate) fn time_has_passed_for(&mut self, index: ResourceIndex) {
        if !self.ledger.exists(index) {
            return;
        }
        let ResourceKey::Named(name) = self.ledger.get(index).key.clone() else { return };
        let mut state = self.ledger.state(index);
        let is_over = state.throttled_until.is_some_and(|until| until <= self.now);
        if is_over {
            state.throttled_until = None;
        }
        self.ledger.set_state(index, state);
        if !self.ledger.exists(index) {
            self.meta.states.remove(&name);
            return;
        }
        self.note_state(&name, index);
        // Who was barred stands in line again, everybody at his place.
        if is_over {
            self.reconsider(index);
        }
    }
}

/// The name that was meant, if one is near enough: of the same type, or with a type that is mistyped.
fn nearest_resource<'a>(written: &ResourceName, names: &'a [ResourceName]) -> Option<&'a ResourceName> {
    let same_kind = || names.iter().filter(|name| name.kind() == written.kind());
    let near = orchd_model::nearest(written.identifier(), same_kind().map(ResourceName::identifier));
    if let Some(near) = near {
        return same_kind().find(|name| name.identifier() == near);
    }
    let same_identifier = || names.iter().filter(|name| name.identifier() == written.identifier());
    let near = orchd_model::nearest(written.kind(), same_identifier().map(ResourceName::kind))?;
    same_identifier().find(|name| name.kind() == near)
}
