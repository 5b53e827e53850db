//! What will happen in a world, decided in full before it begins.
//!
//! Duty: turn a seed into a list of steps that says everything chance decides: who acts, what the network does to each
//! call, at which write a disk stops.
//! Invariant: a step carries its own randomness, so a script with steps taken out is still a script. The shrinker
//! lives on that.

use crate::random::Random;
use std::fmt;

/// How large a world is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Devices that write.
    pub devices: usize,
    /// Local actions over all devices.
    pub events: usize,
}

/// What the network does to one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It arrives once and is answered.
    Clear,
    /// It never arrives.
    RequestLost,
    /// It takes effect; the answer never arrives.
    AnswerLost,
    /// It takes effect twice at once; the second answer arrives.
    Doubled,
    /// It takes effect and is answered; the same bytes arrive again after so many steps.
    Echo(u32),
    /// The device gives up waiting; it takes effect after so many steps, behind whatever came in between.
    Late(u32),
    /// The server is too busy and says when to come again.
    Busy,
    /// Something else answers in the server's place.
    Foreign,
    /// The server is killed before it takes the request.
    ServerDiesBefore,
    /// The server is killed at the n-th write that the request causes.
    ServerDiesAt(u32),
    /// The server is killed after the effect, before the answer.
    ServerDiesAfter,
}

/// One thing a device, the server or the world does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// The device makes one local change that its rows permit.
    Write,
    /// The device pushes.
    Push {
        /// Of the calls in order; the calls after these are clear.
        fates: Vec<Fate>,
    },
    /// The device pulls to the head.
    Pull {
        /// As for a push.
        fates: Vec<Fate>,
        /// The server's largest page.
        page: u32,
    },
    /// The device's clock jumps by so many seconds.
    ClockJumps(i64),
    /// The device is unreachable for so many steps.
    Unplugged(u32),
    /// The server stops in order and starts again.
    ServerRestarts,
    /// The server's live view is deleted; it must come back equal.
    LiveViewVanishes,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Which device acts (or is closest to what happens).
    pub device: usize,
    /// What happens.
    pub what: What,
    /// The device's program is killed at the n-th write of this step, 0 being the first.
    pub dies_at: Option<u32>,
    /// Seed of everything the step draws.
    pub seed: u64,
}

/// A world's whole story.
#[derive(Clone, Debug)]
pub struct Script {
    /// Devices.
    pub devices: usize,
    /// Seed of what does not belong to one step.
    pub seed: u64,
    /// Nobody is killed while setting up.
    pub fair: bool,
    /// Devices are looked at after each of their steps, not only now and then.
    pub watched: bool,
    /// In order.
    pub steps: Vec<Step>,
}

impl Script {
    /// The script of a seed. Worlds differ in temper, from a quiet office to a storm, so that both long clean
    /// stretches and dense faults occur.
    pub fn of(seed: u64, size: Size) -> Self {
        let mut random = Random::new(seed);
        let temper = [0, 5, 15, 35][random.below(4)];
        let deaths = [0, 1, 2][random.below(3)];
        let chatter = [5, 10, 20, 40][random.below(4)];
        let mut steps = Vec::with_capacity(size.events * 3);
        let mut written = 0;
        while written < size.events {
            let device = random.below(size.devices);
            let what = what(&mut random, temper, chatter);
            written += usize::from(what == What::Write);
            let dies_at = random.chance(deaths).then(|| small(&mut random, 24));
            steps.push(Step { device, what, dies_at, seed: random.draw() });
        }
        Self { devices: size.devices, seed: random.draw(), fair: deaths == 0, watched: false, steps }
    }

    /// Number of local actions asked for.
    pub fn writes(&self) -> usize {
        self.steps.iter().filter(|s| s.what == What::Write).count()
    }
}

fn what(random: &mut Random, temper: usize, chatter: usize) -> What {
    if !random.chance(chatter) {
        return What::Write;
    }
    match random.below(100) {
        0..=45 => What::Push { fates: fates(random, temper) },
        46..=91 => {
            let page = [1, 3, 7, 20, 50, 200, 1_000, 1_000, 1_000, 1_000][random.below(10)];
            What::Pull { fates: fates(random, temper), page }
        }
        // In a quiet world the rest is quiet too.
        _ if temper == 0 => What::Push { fates: Vec::new() },
        92..=93 => What::ClockJumps(i64::try_from(random.below(14_400)).unwrap_or(0) - 7_200),
        94..=96 => What::Unplugged(small(random, 40)),
        97..=98 => What::ServerRestarts,
        _ => What::LiveViewVanishes,
    }
}

fn fates(random: &mut Random, temper: usize) -> Vec<Fate> {
    (0..4).map(|_| if random.chance(temper) { fault(random) } else { Fate::Clear }).collect()
}

fn fault(random: &mut Random) -> Fate {
    match random.below(12) {
        0 | 1 => Fate::RequestLost,
        2 | 3 => Fate::AnswerLost,
        4 => Fate::Doubled,
        5 => Fate::Echo(small(random, 30)),
        6 | 7 => Fate::Late(small(random, 30)),
        8 => Fate::Busy,
        9 => Fate::Foreign,
        10 => match random.below(2) {
            0 => Fate::ServerDiesBefore,
            _ => Fate::ServerDiesAfter,
        },
        _ => Fate::ServerDiesAt(small(random, 12)),
    }
}

/// Below `limit`, small numbers more often: most mistakes show at the first few writes or steps.
fn small(random: &mut Random, limit: usize) -> u32 {
    let limit = 1 + random.below(limit);
    u32::try_from(random.below(limit)).unwrap_or(0)
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let device = self.device;
        match &self.what {
            What::Write => write!(f, "device {device} writes")?,
            What::Push { fates } => write!(f, "device {device} pushes{}", Fates(fates))?,
            What::Pull { fates, page } => write!(f, "device {device} pulls by {page}{}", Fates(fates))?,
            What::ClockJumps(by) => write!(f, "device {device}'s clock jumps {by:+} s")?,
            What::Unplugged(steps) => write!(f, "device {device} is unplugged for {steps} steps")?,
            What::ServerRestarts => f.write_str("the server restarts")?,
            What::LiveViewVanishes => f.write_str("the live view vanishes")?,
        }
        match self.dies_at {
            Some(n) => write!(f, "; its program is killed at write {n}"),
            None => Ok(()),
        }
    }
}

struct Fates<'a>(&'a [Fate]);

impl fmt::Display for Fates<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let last = self.0.iter().rposition(|fate| *fate != Fate::Clear).map_or(0, |i| i + 1);
        let words: Vec<_> = self.0[..last].iter().map(ToString::to_string).collect();
        if words.is_empty() { Ok(()) } else { write!(f, " ({})", words.join(", ")) }
    }
}

impl Fate {
    /// The word the figures count it under.
    pub fn kind(self) -> &'static str {
        match self {
            Fate::Clear => "clear",
            Fate::RequestLost => "request lost",
            Fate::AnswerLost => "answer lost",
            Fate::Doubled => "doubled",
            Fate::Echo(_) => "echoed later",
            Fate::Late(_) => "late",
            Fate::Busy => "busy",
            Fate::Foreign => "foreign answer",
            Fate::ServerDiesBefore => "server killed before",
            Fate::ServerDiesAt(_) => "server killed at a write",
            Fate::ServerDiesAfter => "server killed after",
        }
    }
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind())?;
        match self {
            Fate::Echo(n) | Fate::Late(n) => write!(f, " by {n}"),
            Fate::ServerDiesAt(n) => write!(f, " {n}"),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_script() {
        let size = Size { devices: 3, events: 200 };
        let (a, b) = (Script::of(5, size), Script::of(5, size));
        assert_eq!(a.steps, b.steps);
        assert_eq!(a.writes(), 200);
        assert_ne!(a.steps, Script::of(6, size).steps);
    }

    #[test]
    fn every_fault_occurs_within_a_hundred_worlds() {
        let mut kinds = std::collections::BTreeSet::new();
        let (mut deaths, mut others) = (0, std::collections::BTreeSet::new());
        for seed in 0..100 {
            for step in Script::of(seed, Size { devices: 3, events: 200 }).steps {
                deaths += usize::from(step.dies_at.is_some());
                others.insert(format!("{:?}", std::mem::discriminant(&step.what)));
                if let What::Push { fates } | What::Pull { fates, .. } = step.what {
                    kinds.extend(fates.iter().map(|f| f.kind()));
                }
            }
        }
        assert_eq!(kinds.len(), 11);
        assert_eq!(others.len(), 7);
        assert!(deaths > 100);
    }
}
