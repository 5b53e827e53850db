//! The network between the devices and the server, as [`Transport`].
//!
//! Duty: let each call meet the fate that the script has for it: lost, repeated, late, answered by a stranger, cut by
//! the server's death.
//! Invariant: what the server once answered about an event it must answer for ever; the network remembers and compares.

use crate::script::Fate;
use crate::server::Server;
use crate::trace::Trace;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;
use td_client::transport::{
    PullPage, PushRequest, PushResponse, RemoteDigest, RemoteStatus, Transport, TransportError,
};
use td_engine::event::digest8;
use td_engine::id::{ProjectId, Seq};
use td_engine::taxonomy::EntityType;

/// The only network of a world.
pub struct Network {
    /// Where everything arrives in the end.
    pub server: Server,
    /// What is counted and told.
    pub trace: Rc<Trace>,
    now: Cell<u32>,
    under_way: RefCell<Vec<(u32, PushRequest)>>,
    fates: RefCell<VecDeque<Fate>>,
    page: Cell<u32>,
    cut: Cell<bool>,
    said: RefCell<BTreeMap<(String, String, i64, String), Seq>>,
    broken: RefCell<Vec<String>>,
}

impl Network {
    /// A network in front of a server.
    pub fn new(server: Server, trace: Rc<Trace>) -> Self {
        Self {
            server,
            trace,
            now: Cell::new(0),
            under_way: RefCell::default(),
            fates: RefCell::default(),
            page: Cell::new(u32::MAX),
            cut: Cell::new(false),
            said: RefCell::default(),
            broken: RefCell::default(),
        }
    }

    /// Begins a step: delivers what is due, and says what the step's calls will meet.
    pub fn begin(&self, now: u32, fates: &[Fate], page: u32, cut: bool) -> anyhow::Result<()> {
        self.now.set(now);
        self.fates.replace(fates.iter().copied().collect());
        self.page.set(page);
        self.cut.set(cut);
        self.deliver(now)
    }

    /// Ends all trouble: everything under way arrives now, and calls are clear from here on.
    pub fn calm(&self) -> anyhow::Result<()> {
        self.begin(u32::MAX, &[], u32::MAX, false)
    }

    /// What contradicted an earlier answer.
    pub fn broken_promises(&self) -> Vec<String> {
        self.broken.borrow().clone()
    }

    fn deliver(&self, now: u32) -> anyhow::Result<()> {
        let (due, later) = self.under_way.take().into_iter().partition(|(when, _)| *when <= now);
        self.under_way.replace(later);
        let due: Vec<(u32, PushRequest)> = due;
        for (_, request) in due {
            self.trace.tell(|| {
                format!("  {} delayed events of {} arrive", request.events.len(), request.device_id)
            });
            let _ = self.take(&request);
            self.revive()?;
        }
        Ok(())
    }

    /// The push takes effect, and its answer is noted, whether or not it will reach anybody.
    fn take(&self, request: &PushRequest) -> Result<PushResponse, TransportError> {
        let answer = self.server.push(request)?;
        let seqs = answer.acks.iter().map(|a| (a.client_action_id, Some(a.server_seq)));
        let seqs = seqs.chain(answer.rejected.iter().map(|r| (r.client_action_id, r.server_seq)));
        for (action, seq) in seqs {
            let Some(seq) = seq else {
                self.broken.borrow_mut().push(format!("an event of ours was refused: {:?}", answer.rejected));
                continue;
            };
            for event in request.events.iter().filter(|e| e.client_action_id == action) {
                let entity = EntityType::stored(event.entity_type.clone());
                let digest = digest8(&event.action_type, &entity, &event.entity_id, &event.payload);
                let key = (request.device_id.to_string(), request.session_id.to_string(), action.0, digest);
                let before = *self.said.borrow_mut().entry(key).or_insert(seq);
                if before != seq {
                    let line =
                        format!("action {} of {} was at {before}, is at {seq}", action.0, request.device_id);
                    self.broken.borrow_mut().push(line);
                }
            }
        }
        Ok(answer)
    }

    fn revive(&self) -> anyhow::Result<()> {
        if self.server.is_dead() {
            self.trace.tell(|| "  the server is dead and starts again".into());
            self.server.restart()?;
        }
        Ok(())
    }

    fn restart(&self) -> Result<(), TransportError> {
        self.revive().map_err(|why| {
            self.broken.borrow_mut().push(format!("the server does not start again: {why:#}"));
            offline("the server does not start again")
        })
    }

    /// A question without effect meets only the fates that need none; the others wait for what comes next.
    fn greeting(&self) {
        let mut fates = self.fates.borrow_mut();
        let plain = [Fate::RequestLost, Fate::Busy, Fate::Foreign, Fate::ServerDiesBefore];
        if fates.front().is_some_and(|next| !plain.contains(next)) {
            fates.push_front(Fate::Clear);
        }
    }

    /// One call, with whatever happens to it. `queue` puts a copy of the request under way.
    fn call<A>(
        &self,
        what: &str,
        effect: impl Fn() -> Result<A, TransportError>,
        queue: impl Fn(u32),
    ) -> Result<A, TransportError> {
        if self.cut.get() {
            self.trace.fault("unplugged");
            return Err(offline("unplugged"));
        }
        let fate = self.fates.borrow_mut().pop_front().unwrap_or(Fate::Clear);
        if fate != Fate::Clear {
            self.trace.fault(fate.kind());
            self.trace.tell(|| format!("  {what}: {fate}"));
        }
        match fate {
            Fate::Clear => {}
            Fate::RequestLost => return Err(offline("the request was lost")),
            Fate::Late(steps) => {
                queue(steps);
                return Err(offline("no answer in time"));
            }
            Fate::Busy => {
                return Err(TransportError::Refused {
                    status: 503,
                    code: "unavailable".into(),
                    message: "maintenance".into(),
                    retry_after: Some(Duration::from_secs(1)),
                });
            }
            Fate::Foreign => {
                return Err(TransportError::Foreign {
                    url: "harness".into(),
                    why: "a captive portal".into(),
                });
            }
            Fate::ServerDiesBefore => {
                self.server.kill();
                self.restart()?;
                return Err(offline("connection reset"));
            }
            Fate::ServerDiesAt(n) => self.server.kill_after(n),
            Fate::Doubled => drop(effect()),
            Fate::Echo(steps) => queue(steps),
            Fate::AnswerLost | Fate::ServerDiesAfter => {}
        }
        let answer = effect();
        match fate {
            Fate::AnswerLost => Err(offline("the answer was lost")),
            Fate::ServerDiesAfter => {
                self.server.kill();
                self.restart()?;
                Err(offline("connection reset"))
            }
            Fate::ServerDiesAt(_) if self.server.is_dead() => {
                self.trace.fault("killed in the middle of a write");
                self.restart()?;
                // An answer that was ready before the death may still have left.
                answer.map_err(|_| offline("connection reset"))
            }
            Fate::ServerDiesAt(_) => {
                self.server.spare();
                answer
            }
            _ => answer,
        }
    }
}

impl Transport for Network {
    fn push(&self, _: &ProjectId, request: &PushRequest) -> Result<PushResponse, TransportError> {
        let what = format!("push of {} events", request.events.len());
        let queue = |steps: u32| {
            self.under_way.borrow_mut().push((self.now.get().saturating_add(steps), request.clone()));
        };
        let answer = self.call(&what, || self.take(request), queue);
        self.trace.tell(|| match &answer {
            Ok(a) => format!("  {what}: {} accepted, {} rejected", a.accepted, a.rejected.len()),
            Err(e) => format!("  {what}: {e}"),
        });
        answer
    }

    fn pull(&self, _: &ProjectId, after: Seq, limit: u32) -> Result<PullPage, TransportError> {
        let answer = self.call("pull", || self.server.pull(after, limit, self.page.get()), |_| {});
        self.trace.tell(|| match &answer {
            Ok(page) => {
                format!("  pull after {after}: {} events up to {}", page.events.len(), page.last_server_seq)
            }
            Err(e) => format!("  pull after {after}: {e}"),
        });
        answer
    }

    fn status(&self, _: &ProjectId) -> Result<RemoteStatus, TransportError> {
        self.greeting();
        self.call("status", || self.server.status(), |_| {})
    }

    fn digest(&self, _: &ProjectId) -> Result<RemoteDigest, TransportError> {
        self.call("digest", || self.server.digest(), |_| {})
    }
}

fn offline(why: &str) -> TransportError {
    TransportError::Offline { url: "harness".into(), why: why.into() }
}
