//! When each attempt is made: the schedule of one forwarded request as a state machine without clock or I/O.
//!
//! The driver asks [`Hedge::next`] with what happened and the time since the request arrived, does what it says, and
//! asks again:
//!
//! ```text
//! event = Start
//! loop match hedge.next(event, elapsed):
//!     Send(leg)    -> start the attempt; event = Tick
//!     Wait(until)  -> wait for an attempt to end or for `until`; event = what came
//!     Answer(leg)  -> done: give that attempt's answer, drop the others
//!     GiveUp(why)  -> done: refuse
//! ```
//!
//! A read may have several attempts in flight. A write has one, and a second one only after the first provably was
//! not sent, or was refused by a node that did not perform it.

use std::time::Duration;

use valv_model::Effect;

use crate::Forward;

/// Figures of forwarding, each counted from the request's arrival.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// A read asks a second node of the first choice.
    pub second: Duration,
    /// A read asks the second choice: the replica.
    pub replica: Duration,
    /// Everything ends: 504.
    pub deadline: Duration,
    /// A write that could not be sent by then is refused.
    pub send: Duration,
    /// A read that everybody failed goes round again after this time, growing with each round.
    pub pause: Duration,
    /// So many rounds at most.
    pub rounds: u32,
    /// Anybody beside the first is asked at all. Only ever off to see that tests notice.
    pub on: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            second: Duration::from_millis(300),
            replica: Duration::from_millis(900),
            deadline: Duration::from_secs(2),
            send: Duration::from_secs(1),
            pause: Duration::from_millis(100),
            rounds: 3,
            on: true,
        }
    }
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The request arrived.
    Start,
    /// Nothing but time.
    Tick,
    /// The attempt brought an answer for the client, read whole.
    Answered(usize),
    /// The node said that it does not serve this in that role (421; for reads also 503). Nothing was done.
    Refused(usize),
    /// Provably no byte of the request left this node.
    NotSent(usize),
    /// Sent, and the connection failed: a write may have happened.
    Lost(usize),
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Start the attempt: `forward.first` and `forward.then` numbered through.
    Send(usize),
    /// Wait for an attempt to end, or until this time after the arrival.
    Wait(Duration),
    /// This attempt's answer is the request's.
    Answer(usize),
    /// No answer.
    GiveUp(GiveUp),
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GiveUp {
    /// Nobody performed it: 503; a write changed nothing.
    Refused,
    /// The deadline passed with an attempt under way, or a write was sent and its answer lost: 504.
    Unanswered,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attempt {
    NotYet,
    Flying,
    Failed,
}

/// One forwarded request.
#[derive(Clone, Debug)]
pub struct Hedge {
    effect: Effect,
    settings: Settings,
    attempts: Vec<Attempt>,
    /// Attempts below this number are of the first choice.
    first: usize,
    /// Attempts of the first and of the second choice that were started because of the time, in this round.
    round: u32,
    /// When this round began.
    began: Duration,
    /// The second of the first choice was started.
    seconded: bool,
    /// When the latest attempt of the second choice was started.
    then_sent: Option<Duration>,
    /// A write was sent and its answer lost.
    lost: bool,
}

impl Hedge {
    /// The schedule over a plan's legs.
    #[must_use]
    pub fn new(forward: &Forward, effect: Effect, settings: Settings) -> Self {
        let (first, then) = match settings.on {
            true => (forward.first.len(), forward.then.len()),
            false => (forward.first.len().min(1), 0),
        };
        Self {
            effect,
            settings,
            attempts: vec![Attempt::NotYet; first + then],
            first,
            round: 1,
            began: Duration::ZERO,
            seconded: false,
            then_sent: None,
            lost: false,
        }
    }

    /// What to do after `event`, `elapsed` after the request's arrival.
    pub fn next(&mut self, event: Event, elapsed: Duration) -> Action {
        match event {
            Event::Start | Event::Tick => {}
            // An answer that is here is given, late or not: the client still waits.
            Event::Answered(leg) => return Action::Answer(leg),
            Event::Refused(leg) | Event::NotSent(leg) => self.fail(leg),
            Event::Lost(leg) => {
                self.fail(leg);
                self.lost = self.effect == Effect::Write;
            }
        }
        if self.lost {
            return Action::GiveUp(GiveUp::Unanswered);
        }
        if elapsed >= self.settings.deadline {
            let flying = self.attempts.contains(&Attempt::Flying);
            return Action::GiveUp(if flying { GiveUp::Unanswered } else { GiveUp::Refused });
        }
        match self.effect {
            Effect::Write => self.write(elapsed),
            Effect::Read => self.read(elapsed),
        }
    }

    fn fail(&mut self, leg: usize) {
        if let Some(attempt) = self.attempts.get_mut(leg) {
            *attempt = Attempt::Failed;
        }
    }

    fn send(&mut self, leg: usize) -> Action {
        if let Some(attempt) = self.attempts.get_mut(leg) {
            *attempt = Attempt::Flying;
        }
        Action::Send(leg)
    }

    /// One attempt at a time; the next only when the last one did nothing.
    fn write(&mut self, elapsed: Duration) -> Action {
        if self.attempts.contains(&Attempt::Flying) {
            return Action::Wait(self.settings.deadline);
        }
        match self.attempts.iter().position(|a| *a == Attempt::NotYet) {
            Some(leg) if elapsed < self.settings.send => self.send(leg),
            _ => Action::GiveUp(GiveUp::Refused),
        }
    }

    fn read(&mut self, elapsed: Duration) -> Action {
        let (first, then) = self.attempts.split_at(self.first);
        let waiting = |legs: &[Attempt]| legs.iter().position(|a| *a == Attempt::NotYet);
        let flying = |legs: &[Attempt]| legs.contains(&Attempt::Flying);
        let (first_waiting, first_flying) = (waiting(first), flying(first));
        let (then_waiting, then_flying) = (waiting(then).map(|leg| leg + self.first), flying(then));
        let (second_at, replica_at) = (self.began + self.settings.second, self.began + self.settings.replica);

        let begun = elapsed >= self.began;
        if begun && let Some(leg) = first_waiting {
            if !first_flying {
                return self.send(leg);
            }
            if !self.seconded && elapsed >= second_at {
                self.seconded = true;
                return self.send(leg);
            }
        }
        if begun && let Some(leg) = then_waiting {
            // Nobody of the first choice is left, or they take too long; and nobody of the second choice is at it,
            // or that one takes too long as well.
            let due = (first_waiting.is_none() && !first_flying) || elapsed >= replica_at;
            let free = !then_flying || self.then_sent.is_some_and(|at| elapsed >= at + self.settings.second);
            if due && free {
                self.then_sent = Some(elapsed);
                return self.send(leg);
            }
        }
        if begun && !first_flying && !then_flying && first_waiting.is_none() && then_waiting.is_none() {
            if self.round >= self.settings.rounds || self.attempts.is_empty() {
                return Action::GiveUp(GiveUp::Refused);
            }
            self.began = elapsed + self.settings.pause * self.round;
            self.round += 1;
            self.seconded = false;
            self.then_sent = None;
            self.attempts.fill(Attempt::NotYet);
            return Action::Wait(self.began.min(self.settings.deadline));
        }
        // The next time at which something changes by itself.
        let then_free = self.then_sent.filter(|_| then_flying).map(|at| at + self.settings.second);
        let next = [
            (!begun).then_some(self.began),
            (first_waiting.is_some() && !self.seconded).then_some(second_at),
            then_waiting.is_some().then(|| replica_at.max(then_free.unwrap_or(replica_at))),
            // The second choice may be due already because the first has failed.
            then_waiting.and(then_free),
        ];
        let next = next.into_iter().flatten().filter(|at| *at > elapsed).min();
        Action::Wait(next.unwrap_or(self.settings.deadline).min(self.settings.deadline))
    }
}

#[cfg(test)]
mod tests;
