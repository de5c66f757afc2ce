//! What is driven, and against what.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use tempfile::TempDir;

use crate::append::appends;
use crate::browser::{Connection, expect, question, request, sign_in};
use crate::growth::{Size, cost};
use crate::report::Report;
use crate::run::{Measured, Pace, Worker, drive, median, together};
use crate::servers::{Constant, Kind, Server};
use crate::table::Row;
use crate::{Failure, Options, Scenario, cpu};

/// How many sign-ins a second are written beside the checks of the mix.
const SIGN_INS_PER_SECOND: u64 = 64;

/// With so many sessions another town is measured where each person has one.
const TOLD_APART: u64 = 100_000;

/// Runs what was asked for, and prints it.
pub(crate) async fn run(options: &Options) -> Result<(), Failure> {
    let mut rows = Vec::new();
    let with_browsers =
        [Scenario::SignIn, Scenario::Check, Scenario::Forward, Scenario::Mix, Scenario::Refresh];
    if with_browsers.into_iter().any(|scenario| options.wants(scenario)) {
        with_house(options, &mut rows).await?;
    }
    if options.wants(Scenario::Append) {
        appends(options, &mut rows).await?;
    }
    let mut costs = Vec::new();
    if options.wants(Scenario::Growth) {
        for &sessions in &options.sessions {
            costs.push(cost(options, Size::of_sessions(sessions)).await?);
            // What a user takes is told apart from what a session takes.
            if sessions == TOLD_APART {
                costs.push(cost(options, Size::of_people(sessions)).await?);
            }
        }
        for &records in &options.records {
            costs.push(cost(options, Size::of_records(records)).await?);
        }
    }
    let report = Report { rows, costs };
    report.print(options.json);
    if let Some(path) = &options.write {
        report.write(path, options)?;
    }
    Ok(())
}

async fn with_house(options: &Options, rows: &mut Vec<Row>) -> Result<(), Failure> {
    let house = House::open(options).await?;
    if options.wants(Scenario::SignIn) {
        house.sign_ins(options, rows).await?;
    }
    let cookies = house.sign_everybody_in().await?;
    if options.wants(Scenario::Check) {
        house.compared("check", check, options, &cookies, rows).await?;
    }
    if options.wants(Scenario::Forward) {
        house.compared("forward", question, options, &cookies, rows).await?;
    }
    if options.wants(Scenario::Mix) {
        house.mix(options, &cookies, rows).await?;
    }
    if options.wants(Scenario::Refresh) {
        house.refreshes(options, &cookies, rows).await?;
    }
    Ok(())
}

/// doorbook and its Discord.
struct House {
    doorbook: Server,
    discord: Server,
    people: usize,
    next: Arc<AtomicUsize>,
    data: TempDir,
}

impl House {
    async fn open(options: &Options) -> Result<House, Failure> {
        let data = TempDir::new()?;
        let discord = Server::start(Kind::Discord, &[("--people", options.people.to_string())]).await?;
        let arguments =
            [("--data-dir", data.path().display().to_string()), ("--discord", discord.address.to_string())];
        let doorbook = Server::start(Kind::Doorbook, &arguments).await?;
        Ok(House { doorbook, discord, people: options.people, next: Arc::default(), data })
    }

    /// Signs each person in once.
    async fn sign_everybody_in(&self) -> Result<Arc<[String]>, Failure> {
        const AT_ONCE: usize = 64;
        let mut tasks = tokio::task::JoinSet::new();
        for lane in 0..AT_ONCE {
            let (doorbook, discord, people) = (self.doorbook.address, self.discord.address, self.people);
            tasks.spawn(async move {
                let (mut doorbook, mut discord) =
                    (Connection::open(doorbook).await?, Connection::open(discord).await?);
                let mut cookies = Vec::new();
                for person in (lane..people).step_by(AT_ONCE) {
                    cookies.push((person, sign_in(&mut doorbook, &mut discord, person).await?));
                }
                Ok::<_, Failure>(cookies)
            });
        }
        let mut all = Vec::new();
        while let Some(done) = tasks.join_next().await {
            all.extend(done??);
        }
        all.sort_unstable();
        Ok(all.into_iter().map(|(_, cookie)| cookie).collect())
    }

    async fn sign_ins(&self, options: &Options, rows: &mut Vec<Row>) -> Result<(), Failure> {
        for &connections in &options.connections {
            let pace = Pace { lasts: options.round(), rate: options.rate };
            let measured = self.drive_sign_ins(connections, pace).await?;
            rows.push(self.row("sign-in", connections, measured));
        }
        Ok(())
    }

    async fn drive_sign_ins(&self, connections: usize, pace: Pace) -> Result<Measured, Failure> {
        let mut workers = Vec::new();
        for _ in 0..connections {
            workers.push(SignIns {
                doorbook: Connection::open(self.doorbook.address).await?,
                discord: Connection::open(self.discord.address).await?,
                people: self.people,
                next: self.next.clone(),
            });
        }
        drive(self.doorbook.process(), pace, workers).await
    }

    /// doorbook and both ceilings in turns; of the rounds of each the middle one counts.
    async fn compared(
        &self,
        what: &'static str,
        ask: Ask,
        options: &Options,
        cookies: &Arc<[String]>,
        rows: &mut Vec<Row>,
    ) -> Result<(), Failure> {
        let mut one = Connection::open(self.doorbook.address).await?;
        let answer = one.send(ask(&cookies[0], 0)?).await?;
        expect(&answer, StatusCode::OK)?;
        let size = answer.body.len();
        let file = self.data.path().join("answer");
        Constant::of(&answer)?.write(&file)?;
        let answer = [("--answer", file.display().to_string())];
        let (warp, hyper) =
            (Server::start(Kind::Warp, &answer).await?, Server::start(Kind::Hyper, &answer).await?);
        for &connections in &options.connections {
            let pace = Pace { lasts: options.round(), rate: options.rate };
            let mut rounds: [Vec<Measured>; 3] = Default::default();
            for _ in 0..options.rounds.max(1) {
                for (server, rounds) in [&self.doorbook, &warp, &hyper].into_iter().zip(&mut rounds) {
                    rounds.push(drive_checks(server, ask, connections, pace, cookies, size).await?);
                }
            }
            let servers = [("doorbook", &self.doorbook), ("warp", &warp), ("hyper", &hyper)];
            for ((name, server), rounds) in servers.into_iter().zip(rounds) {
                let Some(measured) = median(rounds) else { continue };
                let memory = Some(cpu::memory(server.process()));
                rows.push(Row { what, server: name, connections, measured, memory });
            }
        }
        Ok(())
    }

    /// Checks alone, and checks while sign-ins are being written.
    async fn mix(
        &self,
        options: &Options,
        cookies: &Arc<[String]>,
        rows: &mut Vec<Row>,
    ) -> Result<(), Failure> {
        let mut one = Connection::open(self.doorbook.address).await?;
        let size = one.send(check(&cookies[0], 0)?).await?.body.len();
        let connections = 64;
        // On a timetable that leaves the machine room: what is asked is how long readers wait, not how many they are.
        let rate = options.rate.or(Some(2_000));
        let pace = Pace { lasts: options.round(), rate };
        let writing = Pace { lasts: options.round(), rate: Some(SIGN_INS_PER_SECOND) };
        let (mut alone, mut beside, mut written) = (vec![], vec![], vec![]);
        for _ in 0..options.rounds.max(1) {
            alone.push(drive_checks(&self.doorbook, check, connections, pace, cookies, size).await?);
            let (checks, sign_ins) = tokio::try_join!(
                drive_checks(&self.doorbook, check, connections, pace, cookies, size),
                self.drive_sign_ins(16, writing)
            )?;
            beside.push(checks);
            written.push(sign_ins);
        }
        let measured = [
            ("check, alone", connections, alone),
            ("check, beside 64 sign-ins/s", connections, beside),
            ("sign-in, beside checks", 16, written),
        ];
        for (what, connections, rounds) in measured {
            rows.extend(together(rounds)?.map(|measured| self.row(what, connections, measured)));
        }
        Ok(())
    }

    /// Everybody refreshes at once: each once, because a user may only once a minute.
    async fn refreshes(
        &self,
        options: &Options,
        cookies: &Arc<[String]>,
        rows: &mut Vec<Row>,
    ) -> Result<(), Failure> {
        let connections = 64;
        let turn = Arc::new(AtomicUsize::new(0));
        let pace = Pace { lasts: options.round() * 4, rate: options.rate };
        let mut workers = Vec::new();
        for _ in 0..connections {
            let connection = Connection::open(self.doorbook.address).await?;
            workers.push(Refreshes { connection, cookies: cookies.clone(), turn: turn.clone() });
        }
        let measured = drive(self.doorbook.process(), pace, workers).await?;
        rows.push(self.row("refresh", connections, measured));
        Ok(())
    }

    fn row(&self, what: &'static str, connections: usize, measured: Measured) -> Row {
        let memory = Some(cpu::memory(self.doorbook.process()));
        Row { what, server: "doorbook", connections, measured, memory }
    }
}

/// What is asked, with a person's cookies and from their address.
pub(crate) type Ask = fn(&str, u32) -> Result<Request<Full<Bytes>>, Failure>;

struct SignIns {
    doorbook: Connection,
    discord: Connection,
    people: usize,
    next: Arc<AtomicUsize>,
}

impl Worker for SignIns {
    async fn step(&mut self) -> Result<bool, Failure> {
        let person = self.next.fetch_add(1, Ordering::Relaxed) % self.people;
        sign_in(&mut self.doorbook, &mut self.discord, person).await?;
        Ok(true)
    }
}

struct Refreshes {
    connection: Connection,
    cookies: Arc<[String]>,
    turn: Arc<AtomicUsize>,
}

impl Worker for Refreshes {
    async fn step(&mut self) -> Result<bool, Failure> {
        let person = self.turn.fetch_add(1, Ordering::Relaxed);
        let Some(cookie) = self.cookies.get(person) else { return Ok(false) };
        let mut request = request(Method::POST, "/api/auth/refresh", cookie, u32::try_from(person)?)?;
        request.headers_mut().insert("sec-fetch-site", "same-origin".parse()?);
        expect(&self.connection.send(request).await?, StatusCode::OK)?;
        Ok(true)
    }
}

struct Checks {
    connection: Connection,
    ask: Ask,
    cookies: Arc<[String]>,
    turn: Arc<AtomicUsize>,
    size: usize,
}

impl Worker for Checks {
    async fn step(&mut self) -> Result<bool, Failure> {
        let person = self.turn.fetch_add(1, Ordering::Relaxed) % self.cookies.len();
        let answer = self.connection.send((self.ask)(&self.cookies[person], u32::try_from(person)?)?).await?;
        expect(&answer, StatusCode::OK)?;
        // Ids and names are of different lengths; anything else would be another document.
        if answer.body.len().abs_diff(self.size) > 64 {
            return Err(format!("{} bytes instead of about {}", answer.body.len(), self.size).into());
        }
        Ok(true)
    }
}

pub(crate) fn check(cookie: &str, from: u32) -> Result<Request<Full<Bytes>>, Failure> {
    request(Method::GET, "/api/auth/user", cookie, from)
}

pub(crate) async fn drive_checks(
    server: &Server,
    ask: Ask,
    connections: usize,
    pace: Pace,
    cookies: &Arc<[String]>,
    size: usize,
) -> Result<Measured, Failure> {
    let turn = Arc::new(AtomicUsize::new(0));
    let mut workers = Vec::new();
    for _ in 0..connections {
        let connection = Connection::open(server.address).await?;
        workers.push(Checks { connection, ask, cookies: cookies.clone(), turn: turn.clone(), size });
    }
    drive(server.process(), pace, workers).await
}
