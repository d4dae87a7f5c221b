//! Tasks that are computed, in scenarios.

use orchd_core::Command;
use orchd_model::{ErrorType, Outcome};

use super::script::Script;

impl Script {
    /// What is answered for a task that is being computed.
    pub(super) fn group_command(&mut self, words: &[&str]) -> Command {
        match words {
            [name, outcome] => {
                let outcome = match *outcome {
                    "well" => Outcome::Succeeded,
                    "cancelled" => Outcome::Cancelled,
                    why => Outcome::failed(ErrorType::InvalidResult, why),
                };
                Command::Computed { task: self.task(name), outcome, data: None }
            }
            [name, element, count, options @ ..] => {
                let (head, count) = (self.task(name), count.parse().expect("how many"));
                let array = format!("array=1-{count}");
                let options: Vec<&str> = options.iter().copied().chain([array.as_str()]).collect();
                let elements = Box::new(self.new_task(element, &options, &[]));
                let first = self.world().core.meta().next_task;
                self.tasks.insert((*element).to_owned(), first);
                self.arrays.insert((*element).to_owned(), count);
                Command::Expand { task: head, elements }
            }
            _ => panic!("what was computed? {words:?}"),
        }
    }
}
