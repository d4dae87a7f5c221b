//! Ad-hoc claims in scenarios: clients and tasks have the same names.

use orchd_core::{Command, Join, NewClaim, NewTask, Output, Reply, Runner, WorkerNote};
use orchd_model::{Kept, Refusal, TaskId, Token, WorkerId};

use super::World;
use super::script::Script;

impl World {
    /// A client claims something.
    pub fn claim(&mut self, claim: NewClaim) -> (Result<Reply, Refusal>, Output) {
        let (reply, out) = self.handle(Command::Claim(Box::new(claim.clone())));
        if let Ok(Reply::Joined(id)) = reply {
            self.claims.insert(id, claim);
        }
        (reply, out)
    }

    /// A new client claims what a task claims; gives the id that it has if it is not refused.
    pub fn claim_as(&mut self, mut task: NewTask, waits: bool) -> (TaskId, Result<Reply, Refusal>, Output) {
        task.runner = Runner::Claimant;
        let incarnation = 1000 + self.claims.len() as u64;
        let (handlers, note) = (Vec::new(), WorkerNote::default());
        let join = Join { incarnation, slots: 1, process: false, handlers, holds: Vec::new(), note };
        let id = self.core.meta().next_task;
        let (reply, out) = self.claim(NewClaim { join, task, owner: 1000, waits, returns: false });
        (id, reply, out)
    }

    /// A client connects again, with the attempts that it knows of.
    pub fn come_back(&mut self, client: WorkerId, holds: Vec<Token>) -> (Result<Reply, Refusal>, Output) {
        let mut claim = self.claims[&client].clone();
        claim.join.holds = holds;
        claim.returns = true;
        self.claim(claim)
    }
}

impl Script {
    /// `claim NAME OPTION... [now]`
    pub(super) fn claim(&mut self, words: &[&str]) -> Vec<String> {
        let [name, options @ ..] = words else { panic!("claim NAME OPTION...") };
        let options: Vec<&str> = options.iter().copied().filter(|option| *option != "now").collect();
        let waits = options.len() + 1 == words.len();
        let task = self.new_task(name, &options, &[]);
        let (id, reply, out) = self.world().claim_as(task, waits);
        if let Ok(Reply::Joined(client)) = reply {
            self.workers.insert((*name).to_owned(), client);
            self.tasks.insert((*name).to_owned(), id);
        }
        self.answer(reply, &out)
    }

    /// `give_back NAME RESOURCE`, `downgrade NAME RESOURCE`, `as=TASK`: with the token of its last attempt.
    pub(super) fn loosen(&mut self, verb: &str, words: &[&str]) -> Vec<String> {
        let [name, resource, as_task @ ..] = words else { panic!("{verb} NAME RESOURCE [as=TASK]") };
        let kept = if verb == "downgrade" { Kept::Read } else { Kept::Nothing };
        let speaker = as_task.first().and_then(|word| word.strip_prefix("as=")).unwrap_or(name);
        let token = *self.tokens[&self.task(speaker)].last().expect("it has run");
        let running = self.world().running();
        let held_by = running.iter().find(|(_, t, _)| *t == token).map(|(_, _, worker)| *worker);
        let anybody = || self.workers.values().next().copied();
        let worker = self.workers.get(*name).copied().or(held_by).or_else(anybody).expect("a worker");
        let resource = resource.parse().expect("a resource");
        let (reply, out) = self.world().handle(Command::Loosen { worker, token, resource, kept });
        self.answer(reply, &out)
    }
}
