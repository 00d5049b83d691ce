//! The whole state: hosts and the frames between them. Lists what can happen next.

use xvrrp_common::units::Priority;

use super::fingerprint::Fingerprint;
use super::host::{Character, Contents, Host, TICK};
use super::rules::{Setting, Ticks, UNLIMITED};

#[derive(Clone, Debug)]
pub struct World {
    pub hosts: Vec<Host>,
    /// Sorted, so that equal sets of frames are equal.
    frames: Vec<Frame>,
    /// Number of adverts in a row that got lost, for each pair of sender and receiver.
    lost: Vec<u8>,
    deaths: u8,
    hangs: u8,
    duplicates: u8,
    /// How long each pair of hosts has served together until now.
    overlaps: Vec<Ticks>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Frame {
    to: u8,
    contents: Contents,
    age: Ticks,
    is_copy: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Begin,
    Tick,
    Deliver(u8),
    DeliverCopy(u8),
    Lose(u8),
    Agent(u8),
    Hang(u8),
    Wake(u8),
    Kill(u8),
    Stop(u8),
    Start(u8),
}

#[derive(Debug)]
pub struct Model {
    pub setting: Setting,
    pub characters: Vec<Character>,
    /// How long an instant of the past matters, in nanoseconds.
    memory: u64,
}

impl World {
    /// Returns the longest time for which a pair of hosts has served together until now.
    pub fn overlap(&self) -> Ticks {
        self.overlaps.iter().copied().max().unwrap_or_default()
    }

    pub fn forget_overlaps(&mut self) {
        self.overlaps.fill(0);
    }

    /// Returns receiver, sender and priority of each frame on the wire.
    pub fn in_flight(&self) -> Vec<(u8, u8, u8)> {
        self.frames.iter().map(|frame| (frame.to, frame.contents.0, frame.contents.1)).collect()
    }
}

impl Model {
    pub fn new(setting: Setting) -> Self {
        let characters = Character::all(&setting);
        let memory = u64::from(5 * setting.interval) * TICK;
        Self { setting, characters, memory }
    }

    /// Returns the first state, in which no router is Active yet.
    pub fn beginning(&self) -> World {
        let count = self.characters.len();
        let mut hosts: Vec<_> = self.characters.iter().map(Host::new).collect();
        if self.setting.together {
            for (host, character) in hosts.iter_mut().zip(&self.characters) {
                host.start(character);
                while host.is_due() {
                    host.step(character);
                }
            }
        }
        World {
            hosts,
            frames: Vec::new(),
            lost: vec![0; count * count],
            deaths: 0,
            hangs: 0,
            duplicates: 0,
            overlaps: vec![0; count * count],
        }
    }

    pub fn fingerprint(&self, world: &World) -> u128 {
        let mut fingerprint = Fingerprint::new(self.memory);
        let World { hosts, frames, lost, deaths, hangs, duplicates, overlaps } = world;
        for host in hosts {
            fingerprint.at(host.now.as_nanos(), host);
        }
        fingerprint.at(0, (frames, lost, deaths, hangs, duplicates, overlaps));
        fingerprint.get()
    }

    fn serving<'a>(&'a self, world: &'a World) -> impl Iterator<Item = bool> + 'a {
        world.hosts.iter().zip(&self.characters).map(|(host, character)| host.serves(character))
    }

    /// Lists everything that can happen next.
    pub fn steps(&self, world: &World, steps: &mut Vec<Step>) {
        let Setting { faults, delay, losses_in_a_row, .. } = &self.setting;
        let left = |limit: u8, used: u8| limit == UNLIMITED || used < limit;
        steps.clear();
        let mut tick = true;
        for (index, frame) in (0_u8..).zip(&world.frames) {
            tick &= frame.age < *delay;
            if index > 0 && world.frames[usize::from(index) - 1] == *frame {
                continue;
            }
            steps.push(Step::Deliver(index));
            if !frame.is_copy && left(faults.duplicates, world.duplicates) && *delay > 0 {
                steps.push(Step::DeliverCopy(index));
            }
            if !frame.is_copy && frame.age == 0 && world.lost[self.link(frame)] < *losses_in_a_row {
                steps.push(Step::Lose(index));
            }
        }
        for (index, host) in (0_u8..).zip(&world.hosts) {
            if !host.is_running() {
                steps.push(Step::Start(index));
                continue;
            }
            if host.hung {
                steps.push(Step::Wake(index));
            } else {
                if host.is_due() {
                    tick = false;
                    steps.push(Step::Agent(index));
                }
                if left(faults.hangs, world.hangs) {
                    steps.push(Step::Hang(index));
                }
                if left(faults.deaths, world.deaths) && host.is_idle() {
                    steps.push(Step::Stop(index));
                }
            }
            if left(faults.deaths, world.deaths) {
                steps.push(Step::Kill(index));
            }
        }
        if tick {
            steps.push(Step::Tick);
        }
    }

    pub fn take(&self, world: &World, step: Step) -> World {
        let mut world = world.clone();
        let spend = |used: &mut u8, limit: u8| *used += u8::from(limit != UNLIMITED);
        let faults = &self.setting.faults;
        match step {
            Step::Begin => {}
            Step::Tick => {
                let serves: Vec<_> = self.serving(&world).collect();
                for (index, overlap) in world.overlaps.iter_mut().enumerate() {
                    let (one, other) = (index / serves.len(), index % serves.len());
                    *overlap = if one < other && serves[one] && serves[other] { *overlap + 1 } else { 0 };
                }
                for (host, character) in world.hosts.iter_mut().zip(&self.characters) {
                    host.tick(character);
                }
                for frame in &mut world.frames {
                    frame.age += 1;
                }
            }
            Step::Deliver(index) => {
                let frame = world.frames.remove(usize::from(index));
                self.deliver(&mut world, frame);
            }
            Step::DeliverCopy(index) => {
                let frame = &mut world.frames[usize::from(index)];
                frame.is_copy = true;
                let frame = *frame;
                world.frames.sort_unstable();
                spend(&mut world.duplicates, faults.duplicates);
                self.deliver(&mut world, frame);
            }
            Step::Lose(index) => {
                let frame = world.frames.remove(usize::from(index));
                world.lost[self.link(&frame)] += 1;
            }
            Step::Agent(index) => {
                let sent = world.hosts[usize::from(index)].step(&self.characters[usize::from(index)]);
                self.send(&mut world, index, sent);
            }
            Step::Hang(index) => {
                spend(&mut world.hangs, faults.hangs);
                world.hosts[usize::from(index)].hung = true;
            }
            Step::Wake(index) => world.hosts[usize::from(index)].hung = false,
            Step::Kill(index) => {
                spend(&mut world.deaths, faults.deaths);
                world.hosts[usize::from(index)].kill();
            }
            Step::Stop(index) => {
                spend(&mut world.deaths, faults.deaths);
                let sent = world.hosts[usize::from(index)].stop();
                self.send(&mut world, index, sent);
            }
            Step::Start(index) => world.hosts[usize::from(index)].start(&self.characters[usize::from(index)]),
        }
        world
    }

    /// Returns what happens next if nothing else goes wrong: frames arrive after `delay`. A dead agent is started only
    /// if no agent runs.
    pub fn calm_step(&self, world: &World, delay: Ticks) -> Step {
        if let Some(index) =
            (0_u8..).zip(&world.frames).find_map(|(index, frame)| (frame.age >= delay).then_some(index))
        {
            return Step::Deliver(index);
        }
        let find =
            |is: fn(&Host) -> bool| (0_u8..).zip(&world.hosts).find_map(|(index, host)| is(host).then_some(index));
        if let Some(index) = find(|host| host.hung) {
            return Step::Wake(index);
        }
        if let Some(index) = find(Host::is_due) {
            return Step::Agent(index);
        }
        if !world.hosts.iter().any(Host::is_running) {
            return Step::Start(0);
        }
        Step::Tick
    }

    /// Whether exactly one router serves, as it must be in the end.
    pub fn one_serves(&self, world: &World) -> bool {
        self.serving(world).filter(|&serves| serves).count() == 1
    }

    fn link(&self, frame: &Frame) -> usize {
        usize::from(frame.contents.0) * self.characters.len() + usize::from(frame.to)
    }

    fn deliver(&self, world: &mut World, frame: Frame) {
        world.lost[self.link(&frame)] = 0;
        let to = usize::from(frame.to);
        world.hosts[to].hear(&self.characters[to], frame.contents);
    }

    fn send(&self, world: &mut World, from: u8, priority: Option<Priority>) {
        let Some(priority) = priority else { return };
        for to in (0_u8..).take(world.hosts.len()).filter(|&to| to != from) {
            world.frames.push(Frame { to, contents: (from, priority.get()), age: 0, is_copy: false });
        }
        world.frames.sort_unstable();
    }
}
