//! A world: runs a script, then asks the oracle.
//!
//! Duty: let every step happen in order, in one thread, so that a seed is a reproduction.
//! Invariant: an error of the product that the step's faults explain is part of the story; any other one, and every
//! panic, ends the world as failed.

use crate::device::{Death, Device};
use crate::emit::Actions;
use crate::mind::Mind;
use crate::network::Network;
use crate::oracle;
use crate::random::Random;
use crate::report;
use crate::script::{Fate, Script, Step, What};
use crate::server::Server;
use crate::trace::Trace;
use anyhow::{Context, bail};
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;
use td_client::sync::SyncError;
use td_client::transport::TransportError;
use td_engine::id::ProjectId;

/// Rounds after which a calm world must have settled: one to push what is outstanding, one to pull what the others
/// pushed. Needing more means that something is repeated for ever.
const ROUNDS: usize = 2;

/// Everything in it.
pub struct World {
    /// The devices.
    pub devices: Vec<Device>,
    /// Network and server.
    pub network: Network,
    unplugged: Vec<u32>,
}

/// Runs `script` below `dir`, which must be empty and stays as the world left it.
pub fn run(script: &Script, dir: &Path, tells: bool) -> report::World {
    replayed(script, dir, tells, &[])
}

/// As [`run`], with devices that make the changes of these recordings.
pub fn replayed(script: &Script, dir: &Path, tells: bool, recordings: &[Actions]) -> report::World {
    let started = Instant::now();
    let mut world = report::World { seed: script.seed, ..report::World::default() };
    let trace = Rc::new(Trace::new(tells));
    let mut problems = Vec::new();
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let mut inside = World::new(script, dir, trace.clone())?;
        for (device, actions) in inside.devices.iter_mut().zip(recordings) {
            device.recording = Some(actions.clone());
        }
        let lived = inside.live(script).and_then(|()| inside.settle());
        world.composed = inside.devices.iter().map(|d| d.made.len()).sum();
        world.refused = inside.devices.iter().flat_map(|d| d.refused.clone()).fold(BTreeMap::new(), add);
        lived?;
        oracle::judge(&mut inside)
    }));
    match ended {
        Ok(Ok(seen)) => {
            world.conflicts = seen.conflicts;
            world.skipped = seen.skipped;
            world.logged = seen.logged;
            problems.extend(seen.problems);
        }
        Ok(Err(why)) => problems.push(format!("{why:#}")),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
            problems.push(format!("a panic: {}", text.unwrap_or_default()));
        }
    }
    (world.faults, world.story) = trace.finish();
    world.took = started.elapsed();
    if !problems.is_empty() {
        let of = script.steps.len();
        world.failure = Some(report::Failure { problems, story: Vec::new(), steps: of, of });
    }
    world
}

impl World {
    fn new(script: &Script, dir: &Path, trace: Rc<Trace>) -> anyhow::Result<Self> {
        let mut random = Random::new(script.seed);
        let project = ProjectId::parse("p_00000000000000aa")?;
        let server = Server::new(dir, project.clone(), Arc::new(Mind::new(random.draw(), 0)))?;
        let network = Network::new(server, trace.clone());
        let mut devices = Vec::new();
        for index in 0..script.devices {
            let skew = i64::try_from(random.below(7_200)).unwrap_or(0) - 3_600;
            let mind = Arc::new(Mind::new(random.draw(), skew));
            let dies_at =
                (!script.fair && random.chance(15)).then(|| u32::try_from(random.below(60)).unwrap_or(0));
            let device = Device::new(dir, index, mind, &project, dies_at)?;
            if device.deaths > 0 {
                trace.fault("killed during set-up");
            }
            devices.push(device);
        }
        Ok(Self { unplugged: vec![0; script.devices], devices, network })
    }

    /// The world of a script after its last step and the calm behind it.
    pub fn settled(script: &Script, dir: &Path) -> anyhow::Result<Self> {
        let mut world = Self::new(script, dir, Rc::default())?;
        world.live(script)?;
        world.settle()?;
        Ok(world)
    }

    /// A server and devices that only read, in fair weather.
    pub fn of_readers(dir: &Path, devices: usize) -> anyhow::Result<Self> {
        Self::new(&Script { devices, seed: 0, steps: Vec::new(), fair: true }, dir, Rc::default())
    }

    fn live(&mut self, script: &Script) -> anyhow::Result<()> {
        // One look at an invariant in the middle of things; where, the seed decides.
        let probe = Random::new(script.seed ^ 1).below(script.steps.len());
        for (at, step) in script.steps.iter().enumerate() {
            let now = u32::try_from(at).unwrap_or(u32::MAX);
            self.network.trace.tell(|| format!("{at}: {step}"));
            self.step(now, step).with_context(|| format!("step {at}: {step}"))?;
            if at == probe {
                oracle::probe(self, step.device).with_context(|| format!("after step {at}"))?;
            }
        }
        Ok(())
    }

    fn step(&mut self, now: u32, step: &Step) -> anyhow::Result<()> {
        for device in &self.devices {
            device.mind.pass(1);
        }
        let cut = now < self.unplugged[step.device];
        let (fates, page): (&[Fate], u32) = match &step.what {
            What::Push { fates } => (fates, u32::MAX),
            What::Pull { fates, page } => (fates, *page),
            _ => (&[], u32::MAX),
        };
        self.network.begin(now, fates, page, cut)?;
        let death = Death { at: step.dies_at, again_at: again(step) };
        match &step.what {
            What::Write => {
                let Some(index) = self.writer(step.device) else { return Ok(()) };
                let device = &mut self.devices[index];
                let deaths = device.deaths;
                let words = device.write(step.seed, death)?;
                self.note_deaths(index, deaths);
                self.network.trace.tell(|| format!("  {}", words.join("\n  ")));
            }
            What::Push { .. } | What::Pull { .. } => {
                let pushes = matches!(step.what, What::Push { .. });
                let (devices, network) = (&mut self.devices, &self.network);
                let device = &mut devices[step.device];
                let deaths = device.deaths;
                let (done, was_killed) =
                    device.act(death, |project| {
                        project.sync(network, |sync| {
                            if pushes { sync.push().map(drop) } else { sync.pull().map(drop) }
                        })
                    })?;
                self.note_deaths(step.device, deaths);
                if let Err(why) = done
                    && !was_killed
                    && !is_weather(&why)
                {
                    bail!("{}: {why}", if pushes { "push" } else { "pull" });
                }
            }
            What::ClockJumps(by) => self.devices[step.device].mind.pass(*by),
            What::Unplugged(steps) => self.unplugged[step.device] = now.saturating_add(*steps),
            What::ServerRestarts => {
                self.network.trace.fault("server restarted");
                self.network.server.restart()?;
            }
            What::LiveViewVanishes => {
                self.network.trace.fault("live view deleted");
                self.network.server.forget_live_view()?;
            }
        }
        Ok(())
    }

    /// Who writes: the device itself, or with recordings the next one that has something left.
    fn writer(&self, first: usize) -> Option<usize> {
        let has_more = |i: &usize| self.devices[*i].recording.as_ref().is_none_or(|queue| !queue.is_empty());
        (first..self.devices.len()).chain(0..first).find(has_more)
    }

    fn note_deaths(&self, device: usize, before: u32) {
        for _ in before..self.devices[device].deaths {
            self.network.trace.fault("device killed at a write");
            self.network.trace.tell(|| "  its program was killed and started again".into());
        }
    }

    /// The storm is over: everything under way arrives, and after [`ROUNDS`] rounds nothing may be left to do.
    fn settle(&mut self) -> anyhow::Result<()> {
        self.network.trace.tell(|| "calm".into());
        self.network.calm()?;
        for round in 1..=ROUNDS {
            for index in 0..self.devices.len() {
                let (devices, network) = (&mut self.devices, &self.network);
                let project = devices[index].project()?;
                let done = project.sync(network, |sync| sync.round());
                let done = done.with_context(|| format!("device {index} in calm round {round}"))?;
                if round == ROUNDS && !done.pushed.is_nothing() {
                    bail!("device {index} still pushes in calm round {round}: {:?}", done.pushed);
                }
            }
        }
        Ok(())
    }
}

fn add(mut all: BTreeMap<String, u64>, (why, times): (String, u64)) -> BTreeMap<String, u64> {
    *all.entry(why).or_default() += times;
    all
}

/// When the restart after a kill is itself cut short, and where.
fn again(step: &Step) -> Option<u32> {
    let mut random = Random::new(step.seed ^ 2);
    random.chance(25).then(|| u32::try_from(random.below(8)).unwrap_or(0))
}

/// Whether the network is reason enough for the error.
fn is_weather(error: &SyncError) -> bool {
    match error {
        SyncError::Transport(TransportError::Offline { .. } | TransportError::Foreign { .. }) => true,
        SyncError::Transport(TransportError::Refused { status, .. }) => *status == 503,
        _ => false,
    }
}
