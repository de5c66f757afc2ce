//! People who come and go, what doorbook has acknowledged to them, and whether it still says the same.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use doorbook::discord::stand_in::Control;
use doorbook::discord::stand_in::people::Person;
use doorbook::domain::id::DiscordId;
use serde_json::Value;

use super::dice::Dice;
use crate::harness::{Browser, Exchange, House, Process};

/// More open sessions nobody keeps; doorbook itself ends the oldest of a hundred.
const OPEN_AT_MOST: usize = 10;
/// Beside those who are in every house.
const NEWCOMERS_AT_MOST: u64 = 12;

/// Everybody in a house, and what they were told.
pub struct Life {
    guests: Vec<Guest>,
    newcomers: u64,
    /// How often they were let loose. The dice are not asked for that: how often it is depends on how busy the machine is.
    turns: u64,
    /// How many acknowledged answers were compared.
    pub compared: u64,
    /// How many things were acknowledged.
    pub acknowledged: u64,
}

/// One person, and every session that they were given.
struct Guest {
    user: DiscordId,
    stays: Vec<Stay>,
    /// Sign-ins that were never answered: each may or may not have left a session.
    unanswered: usize,
    /// The sessions that they have left.
    strays: BTreeSet<String>,
    /// How often an end was asked for.
    ends: usize,
    acknowledged: u64,
}

/// A session, as it was acknowledged.
struct Stay {
    id: String,
    cookies: BTreeMap<String, String>,
    document: Value,
    known: Known,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    Open,
    Ended,
    /// Its end was asked for and not acknowledged; all with one number have one fate.
    Unsure(usize),
}

/// Something was lost, or came back; or was never said.
pub type Wrong = Vec<String>;

impl Life {
    pub fn begin(house: &House) -> Life {
        let people = house.discord().people();
        let guests = people.iter().map(|person| Guest::new(person.id)).collect();
        Life { guests, newcomers: 0, turns: 0, compared: 0, acknowledged: 0 }
    }

    /// Somebody arrives who has no key yet.
    pub fn newcomer(&mut self, house: &House) {
        if self.newcomers < NEWCOMERS_AT_MOST {
            let id = DiscordId(700_000_000_000_000_000 + self.newcomers);
            house.discord().put_person(Person::new(id, format!("newcomer{}", self.newcomers)));
            self.guests.push(Guest::new(id));
            self.newcomers += 1;
        }
    }

    /// Lets everybody do things, one after the other and all at once, until `end` or until nobody answers.
    pub async fn goes_on(
        &mut self,
        door: Browser,
        house: &House,
        dice: &Dice,
        end: impl Future<Output = ()>,
    ) -> Result<(), Wrong> {
        let over = Arc::new(AtomicBool::new(false));
        self.turns += 1;
        let turn = self.turns;
        let running: Vec<_> = std::mem::take(&mut self.guests)
            .into_iter()
            .map(|mut guest| {
                let dice = dice.of_another(format_args!("{}/{turn}", guest.user));
                let (door, discord, over) = (door.clone(), house.discord().clone(), over.clone());
                tokio::spawn(async move {
                    let mut went = Ok(true);
                    while let Ok(true) = went
                        && !over.load(Ordering::SeqCst)
                    {
                        went = guest.does_something(&door, &discord, &dice).await;
                    }
                    (guest, went.err())
                })
            })
            .collect();
        end.await;
        over.store(true, Ordering::SeqCst);
        let mut wrong = Wrong::new();
        for guest in running {
            let (mut guest, went_wrong) = guest.await.expect("a guest");
            wrong.extend(went_wrong);
            self.acknowledged += std::mem::take(&mut guest.acknowledged);
            self.guests.push(guest);
        }
        if wrong.is_empty() { Ok(()) } else { Err(wrong) }
    }

    /// Compares with everything that was ever acknowledged.
    pub async fn is_remembered(&mut self, process: &Process) -> Result<(), Wrong> {
        let asking: Vec<_> = std::mem::take(&mut self.guests)
            .into_iter()
            .map(|mut guest| {
                let door = process.browser();
                tokio::spawn(async move {
                    let (mut wrong, mut compared) = (Wrong::new(), 0);
                    guest.is_remembered(&door, &mut wrong, &mut compared).await;
                    (guest, wrong, compared)
                })
            })
            .collect();
        let mut all = Wrong::new();
        for asked in asking {
            let (guest, wrong, compared) = asked.await.expect("a guest");
            all.extend(wrong);
            self.compared += compared;
            self.guests.push(guest);
        }
        if all.is_empty() { Ok(()) } else { Err(all) }
    }

    /// Returns how many sessions are open, as far as anybody was told.
    pub fn open(&self) -> usize {
        let stays = self.guests.iter().flat_map(|guest| &guest.stays);
        stays.filter(|stay| stay.known == Known::Open).count()
    }
}

impl Guest {
    fn new(user: DiscordId) -> Guest {
        Guest { user, stays: vec![], unanswered: 0, strays: BTreeSet::new(), ends: 0, acknowledged: 0 }
    }

    fn open(&self) -> Vec<usize> {
        (0..self.stays.len()).filter(|at| self.stays[*at].known == Known::Open).collect()
    }

    /// Does one thing; false where nobody answers, an error where the answer is none that there may be.
    async fn does_something(
        &mut self,
        door: &Browser,
        discord: &Control,
        dice: &Dice,
    ) -> Result<bool, String> {
        let open = self.open();
        if open.is_empty() || open.len() < OPEN_AT_MOST && dice.percent(60) {
            return self.signs_in(door, discord).await;
        }
        let at = *dice.one_of(&open);
        let mut browser = door.clone();
        browser.cookies = self.stays[at].cookies.clone();
        match dice.below(20) {
            0..9 => self.ends(&[at], &mut browser, "POST", "/api/auth/logout".into()).await,
            9..14 => {
                let other = *dice.one_of(&open);
                let path = format!("/api/auth/sessions/{}", self.stays[other].id);
                self.ends(&[other], &mut browser, "DELETE", path).await
            }
            14 => self.ends(&open, &mut browser, "POST", "/api/auth/revoke".into()).await,
            _ => match asked(&mut browser, "GET", "/api/auth/user").await {
                Some(answer) if answer.status == 200 => Ok(true),
                Some(answer) => Err(format!("{} is signed in: {answer}", self.user)),
                None => Ok(false),
            },
        }
    }

    async fn signs_in(&mut self, door: &Browser, discord: &Control) -> Result<bool, String> {
        let mut browser = door.clone();
        let headers = [("Accept", "text/html"), ("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Site", "none")];
        let Some(begun) = browser.try_send("GET", "/api/auth/discord/login", &headers, "").await else {
            return Ok(false);
        };
        let Some(location) = begun.header("location") else { return Err(format!("no login: {begun}")) };
        let callback = browser.authorize(discord, location, self.user).await;
        let answer = browser.try_send("GET", &callback, &[("Accept", "application/json")], "").await;
        let Some(answer) = answer else {
            self.unanswered += 1;
            return Ok(false);
        };
        match answer.status {
            200 => {
                let document = answer.json();
                let id = document["session"]["id"].as_str().unwrap_or_default().to_owned();
                let document = what_stays(document);
                self.stays.push(Stay { id, cookies: browser.cookies, document, known: Known::Open });
                self.acknowledged += 1;
                Ok(true)
            }
            503 if answer.code() == "log_unavailable" => {
                self.unanswered += 1;
                Ok(true)
            }
            // The authorization is being revoked at this very moment; Discord is to be asked again.
            302 | 303 => Ok(true),
            _ => Err(format!("{} signs in: {answer}", self.user)),
        }
    }

    /// Asks for the end of some of its sessions, which have one fate.
    async fn ends(
        &mut self,
        these: &[usize],
        browser: &mut Browser,
        method: &str,
        path: String,
    ) -> Result<bool, String> {
        self.ends += 1;
        if path.ends_with("/revoke") {
            // Those that nobody was told of end as well.
            self.strays.clear();
        }
        let mut say = |known| these.iter().for_each(|at| self.stays[*at].known = known);
        say(Known::Unsure(self.ends));
        let Some(answer) = asked(browser, method, &path).await else { return Ok(false) };
        match answer.status {
            200 | 202 | 204 => {
                say(Known::Ended);
                self.acknowledged += 1;
                if path.ends_with("/revoke") {
                    self.unanswered = 0;
                }
                Ok(true)
            }
            503 if answer.code() == "log_unavailable" => Ok(true),
            _ => Err(format!("{} asks for {path}: {answer}", self.user)),
        }
    }

    async fn is_remembered(&mut self, door: &Browser, wrong: &mut Wrong, compared: &mut u64) {
        let mut fates: BTreeMap<usize, BTreeSet<bool>> = BTreeMap::new();
        for stay in &mut self.stays {
            let mut browser = door.clone();
            browser.cookies = stay.cookies.clone();
            let Some(answer) = asked(&mut browser, "GET", "/api/auth/user").await else {
                wrong.push(format!("nobody answers {}", self.user));
                return;
            };
            *compared += 1;
            let is_open = match answer.status {
                200 if what_stays(answer.json()) == stay.document => true,
                401 => false,
                _ => {
                    wrong.push(format!("{} was told {} and is told {answer}", self.user, stay.document));
                    continue;
                }
            };
            match (stay.known, is_open) {
                (Known::Open, false) => wrong.push(format!("session {} of {} is lost", stay.id, self.user)),
                (Known::Ended, true) => wrong.push(format!("session {} of {} is back", stay.id, self.user)),
                (Known::Unsure(end), _) => drop(fates.entry(end).or_default().insert(is_open)),
                _ => {}
            }
            // From here on it is known: nobody may be told anything else.
            stay.known = if is_open { Known::Open } else { Known::Ended };
        }
        if fates.values().any(|fate| fate.len() > 1) {
            wrong.push(format!("half of what {} asked to end has ended", self.user));
        }
        self.has_no_more(door, wrong).await;
    }

    /// Beside the sessions that were acknowledged there are only those of sign-ins that were not answered.
    async fn has_no_more(&mut self, door: &Browser, wrong: &mut Wrong) {
        let open = self.open();
        let Some(first) = open.first() else { return };
        let mut browser = door.clone();
        browser.cookies = self.stays[*first].cookies.clone();
        let Some(answer) = asked(&mut browser, "GET", "/api/auth/sessions").await else { return };
        if answer.status != 200 {
            wrong.push(format!("{} is not told of its sessions: {answer}", self.user));
            return;
        }
        let listed = answer.json()["sessions"].as_array().cloned().unwrap_or_default();
        let ids = listed.iter().map(|session| session["id"].as_str().unwrap_or_default().to_owned());
        let mut ids: BTreeSet<String> = ids.collect();
        for at in open {
            if !ids.remove(&self.stays[at].id) {
                wrong.push(format!("session {} of {} is not listed", self.stays[at].id, self.user));
            }
        }
        let whole = |session: &Value| session["opened_at"].is_string() && session["user_agent"].is_string();
        if !listed.iter().all(whole) {
            wrong.push(format!("{} has half a session: {answer}", self.user));
        }
        if ids.len() > self.unanswered {
            wrong.push(format!("{} has sessions that nobody asked for: {answer}", self.user));
        }
        if let Some(lost) = self.strays.difference(&ids).next() {
            wrong.push(format!("session {lost} of {} was there and is not", self.user));
        }
        self.strays = ids;
    }
}

async fn asked(browser: &mut Browser, method: &str, path: &str) -> Option<Exchange> {
    let headers =
        [("Accept", "application/json"), ("Sec-Fetch-Mode", "cors"), ("Sec-Fetch-Site", "same-origin")];
    browser.try_send(method, path, &headers, "").await
}

/// Leaves out of the document of a user what changes by itself.
fn what_stays(mut document: Value) -> Value {
    for changing in ["fetched_at", "stale"] {
        document[changing].take();
    }
    for changing in ["last_seen_at", "expires_at"] {
        document["session"][changing].take();
    }
    document
}
