//! What tasks claimed of the machine, and what they used, by their names.

use orchd_api::{NameUse, Used, Verdict};
use orchd_core::TaskRecord;
use orchd_model::{ResourceName, array_name};
use orchd_store::StoredAttempt;
use std::collections::BTreeMap;

/// Names that are told; those that claim too much or too little come first.
const NAMES: usize = 100;
/// Using less than this part of a claim is claiming too much…
const OVER: f64 = 0.5;
/// … and using more than this part of it too little: a process takes a little for its start and end.
const UNDER: f64 = 1.1;
/// What is misjudged by less than so many core-seconds in all is not worth a word.
const CORE_SECONDS: f64 = 1.0;
/// A task that claims no cores, while others do, has a word said about it from so many on.
const UNCLAIMED_CORES: f64 = 0.5;
/// Memory that is claimed in vain from so many bytes on.
const VAIN_BYTES: f64 = (16 << 20) as f64;
/// What claims no memory, while others do, has a word said about it from so many bytes on.
const UNCLAIMED_BYTES: f64 = (64 << 20) as f64;

/// Sums by name.
#[derive(Default)]
pub struct Uses {
    by_name: BTreeMap<Box<str>, Sum>,
    claims_cpu: bool,
    claims_memory: bool,
}

#[derive(Default)]
struct Sum {
    attempts: u64,
    run_seconds: f64,
    claims_cpu: bool,
    claimed_core_seconds: f64,
    used_core_seconds: f64,
    claimed_bytes: Option<f64>,
    /// The highest that is known.
    peak_bytes: Option<f64>,
    /// What those had at most whose peak is not known.
    most_bytes: Option<f64>,
}

impl Uses {
    pub fn note(&mut self, record: &TaskRecord, attempts: &[StoredAttempt]) {
        for attempt in attempts {
            let Some(usage) = attempt.end.usage else { continue };
            let claims = record.demand.claims_in(attempt.end.variant);
            let claimed = |test: fn(&ResourceName) -> bool| {
                claims.iter().find(|claim| test(&claim.resource)).map(|claim| claim.amount.as_f64())
            };
            let (cores, bytes) = (claimed(|r| r.kind() == "cpu"), claimed(ResourceName::is_memory));
            if !self.by_name.contains_key(&record.name) {
                self.by_name.insert(record.name.clone(), Sum::default());
            }
            let Some(sum) = self.by_name.get_mut(&record.name) else { continue };
            let seconds = attempt.end.execution_time.as_secs_f64();
            sum.attempts += 1;
            sum.run_seconds += seconds;
            sum.claims_cpu |= cores.is_some();
            sum.claimed_core_seconds += cores.unwrap_or(0.0) * seconds;
            sum.used_core_seconds += usage.cpu_user + usage.cpu_system;
            // An attempt after one that ran out of memory may have had a larger claim than the one before it.
            let bytes = usage.memory_claim.map(|bytes| bytes as f64).or(bytes);
            sum.claimed_bytes = sum.claimed_bytes.max(bytes);
            sum.peak_bytes = sum.peak_bytes.max(usage.memory_peak.map(|bytes| bytes as f64));
            sum.most_bytes = sum.most_bytes.max(usage.memory_at_most.map(|bytes| bytes as f64));
            self.claims_cpu |= cores.is_some();
            self.claims_memory |= bytes.is_some();
        }
    }

    /// The names that claim too much or too little, what they misjudge by most first, then the others, by how long
    /// they ran; and how many there are.
    pub fn compared(self) -> (Vec<NameUse>, u64) {
        let (claims_cpu, claims_memory) = (self.claims_cpu, self.claims_memory);
        let count = self.by_name.len() as u64;
        let mut uses: Vec<NameUse> = self
            .by_name
            .into_iter()
            .map(|(name, sum)| NameUse {
                name: array_name(&name).to_owned(),
                attempts: sum.attempts,
                run_time: sum.run_seconds,
                cpu: sum.cpu(claims_cpu),
                memory: sum.memory(claims_memory),
            })
            .collect();
        let fits = |used: &NameUse| used.cpu.verdict == Verdict::Fits && used.memory.verdict == Verdict::Fits;
        uses.sort_by(|a, b| {
            fits(a).cmp(&fits(b)).then(b.run_time.total_cmp(&a.run_time)).then_with(|| a.name.cmp(&b.name))
        });
        uses.truncate(NAMES);
        (uses, count)
    }
}

impl Sum {
    fn cpu(&self, others_claim: bool) -> Used {
        let (claimed, used) = (self.claimed_core_seconds, self.used_core_seconds);
        let cores =
            |core_seconds: f64| if self.run_seconds > 0.0 { core_seconds / self.run_seconds } else { 0.0 };
        let verdict = if self.claims_cpu {
            if used < claimed * OVER && claimed - used >= CORE_SECONDS {
                Verdict::Over
            } else if used > claimed * UNDER && used - claimed >= CORE_SECONDS {
                Verdict::Under
            } else {
                Verdict::Fits
            }
        } else if others_claim && used >= CORE_SECONDS && cores(used) >= UNCLAIMED_CORES {
            Verdict::Under
        } else {
            Verdict::Fits
        };
        Used {
            claimed: self.claims_cpu.then(|| cores(claimed)),
            used: Some(cores(used)),
            at_most: None,
            verdict,
        }
    }

    fn memory(&self, others_claim: bool) -> Used {
        let known = self.peak_bytes.unwrap_or(0.0);
        // What is not known is held against nobody: neither as too much nor as too little.
        let most = self.most_bytes.map_or(known, |most| most.max(known));
        let verdict = match self.claimed_bytes {
            Some(claimed) if most < claimed * OVER && claimed - most >= VAIN_BYTES => Verdict::Over,
            Some(claimed) if known > claimed => Verdict::Under,
            None if others_claim && known >= UNCLAIMED_BYTES => Verdict::Under,
            Some(_) | None => Verdict::Fits,
        };
        let at_most = self.most_bytes.filter(|_| most > known);
        Used { claimed: self.claimed_bytes, used: self.peak_bytes, at_most, verdict }
    }
}

trait Largest {
    fn max(self, other: Self) -> Self;
}

impl Largest for Option<f64> {
    fn max(self, other: Self) -> Self {
        match (self, other) {
            (Some(one), Some(other)) => Some(one.max(other)),
            (one, other) => one.or(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(cores: Option<f64>, seconds: f64, used: f64) -> Sum {
        Sum {
            attempts: 1,
            run_seconds: seconds,
            claims_cpu: cores.is_some(),
            claimed_core_seconds: cores.unwrap_or(0.0) * seconds,
            used_core_seconds: used,
            ..Sum::default()
        }
    }

    #[test]
    fn claims_on_cores_are_judged_by_what_they_keep_from_others() {
        for (cores, seconds, used, others, verdict) in [
            (Some(4.0), 10.0, 10.0, true, Verdict::Over),
            (Some(4.0), 10.0, 21.0, true, Verdict::Fits),
            // Half a second of two cores: nobody minds.
            (Some(2.0), 0.4, 0.1, true, Verdict::Fits),
            (Some(1.0), 10.0, 20.0, true, Verdict::Under),
            (Some(1.0), 10.0, 10.5, true, Verdict::Fits),
            (None, 10.0, 9.0, true, Verdict::Under),
            // Where nobody claims cores, slots are the measure.
            (None, 10.0, 9.0, false, Verdict::Fits),
            (None, 100.0, 2.0, true, Verdict::Fits),
        ] {
            let found = sum(cores, seconds, used).cpu(others);
            assert_eq!(found.verdict, verdict, "{cores:?} {seconds} {used}");
        }
    }

    #[test]
    fn claims_on_memory_are_judged_by_the_highest_peak() {
        let mib = |n: f64| n * f64::from(1 << 20);
        for (claimed, peak, at_most, others, verdict) in [
            (Some(512.0), Some(100.0), None, true, Verdict::Over),
            (Some(20.0), Some(9.0), None, true, Verdict::Fits),
            (Some(100.0), Some(101.0), None, true, Verdict::Under),
            (Some(100.0), Some(60.0), None, true, Verdict::Fits),
            (Some(8.0), Some(20.0), None, true, Verdict::Under),
            (None, Some(100.0), None, true, Verdict::Under),
            (None, Some(100.0), None, false, Verdict::Fits),
            // What is known of the largest process only as a bound.
            (Some(8.0), None, Some(10.0), true, Verdict::Fits),
            (Some(8.0), Some(3.0), Some(10.0), true, Verdict::Fits),
            (Some(512.0), None, Some(10.0), true, Verdict::Over),
            (Some(8.0), Some(9.0), Some(10.0), true, Verdict::Under),
            (None, None, Some(100.0), true, Verdict::Fits),
        ] {
            let (peak_bytes, most_bytes) = (peak.map(mib), at_most.map(mib));
            let sum = Sum { claimed_bytes: claimed.map(mib), peak_bytes, most_bytes, ..Sum::default() };
            assert_eq!(sum.memory(others).verdict, verdict, "{claimed:?} {peak:?} {at_most:?}");
        }
    }
}
