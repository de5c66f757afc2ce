//! SIGHUP: other rules decide while everybody stays signed in, and a bad file changes nothing.

use std::time::Duration;

use doorbook::clock::{Clock as _, SystemClock};
use doorbook::domain::event::Event;

use crate::harness::{House, MARISOL, Process, QUIETFOX};

fn write(house: &House, text: &str) {
    std::fs::write(house.dir.path().join("doorbook.toml"), text).expect("a file");
}

/// Waits until the process has said something as often as that, a minute at most.
async fn until_it_says(process: &Process, text: &str, times: usize) -> String {
    let clock = SystemClock::new();
    while process.said("err").matches(text).count() < times {
        assert!(clock.monotonic() < Duration::from_secs(60), "it does not: {}", process.said("err"));
        clock.sleep(Duration::from_millis(10)).await;
    }
    process.said("err").lines().rfind(|line| line.contains(text)).expect("a line").to_owned()
}

fn hash_changes(house: &House) -> Vec<(u64, bool)> {
    let changed = |(position, event)| match event {
        Event::RulesChanged { old, .. } => Some((position, old.is_some())),
        _ => None,
    };
    house.events().into_iter().filter_map(changed).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn other_rules_decide_from_a_hangup_on_and_whoever_is_signed_in_stays() {
    let house = House::for_processes().await;
    write(&house, &format!("allow = \"user:{QUIETFOX}\"\n"));
    let mut process = Process::serve(&house).await;
    let mut quiet = process.signed_in(&house, QUIETFOX).await;
    let refused = process.browser().sign_in(house.discord(), MARISOL).await;
    assert_eq!(refused.status, 403, "{refused}");
    let elsewhere = "/api/auth/discord/login?rd=https%3A%2F%2Fwiki.example.org%2F";
    let nowhere = process.browser().navigate(elsewhere).await;
    assert_eq!(nowhere.status, 400, "no rule is for it yet: {nowhere}");

    let file = format!(
        "allow = \"user:{MARISOL}\"\nsession_idle = \"1d\"\n\
         [[rule]]\nhost = \"wiki.example.org\"\nallow = [{{ group = \"staff\" }}]\n\
         [[group]]\nname = \"staff\"\nany = [{{ guild = \"197038439483310086\" }}]\n"
    );
    write(&house, &file);
    process.hang_up();
    until_it_says(&process, "SIGHUP: other rules decide from now on", 1).await;
    let waiting = until_it_says(&process, "need a restart", 1).await;
    assert!(waiting.contains("DOORBOOK_SESSION_IDLE") && !waiting.contains("DOORBOOK_ALLOW"), "{waiting}");
    let mut marisol = process.signed_in(&house, MARISOL).await;
    assert_eq!(marisol.fetch("GET", "/api/auth/user").await.status, 200);
    let refused = process.browser().sign_in(house.discord(), QUIETFOX).await;
    assert_eq!(refused.status, 403, "{refused}");
    assert_eq!(quiet.fetch("GET", "/api/auth/user").await.status, 200, "nobody was signed out");
    let begun = process.browser().navigate(elsewhere).await;
    assert_eq!(begun.status, 302, "{begun}");
    let location = begun.header("location").expect("a location");
    assert!(location.contains("guilds.members.read"), "what the new rules need is asked for: {location}");

    // What is only shown is taken over without an event.
    let refused = "/auth/refused?rd=https%3A%2F%2Fwiki.example.org%2F";
    let before = marisol.navigate(refused).await;
    assert!(before.status == 403 && !before.body.contains("Ask at the desk"), "{before}");
    let shown = "title = \"The staff\"\nhelp = \"Ask at the desk\"\ninvite = \"https://discord.gg/desk\"\n";
    write(&house, &format!("{file}{shown}"));
    process.hang_up();
    until_it_says(&process, "what decides is the same", 1).await;
    let after = marisol.navigate(refused).await;
    for shown in ["The staff", "Ask at the desk", "https://discord.gg/desk"] {
        assert!(after.body.contains(shown), "{shown}: {after}");
    }
    assert_eq!(process.terminate().await.code, Some(0));
    let changes = hash_changes(&house);
    assert_eq!(changes.iter().map(|(_, known)| *known).collect::<Vec<_>>(), [false, true], "{changes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_file_is_refused_with_its_line_and_the_old_rules_stay() {
    let house = House::for_processes().await;
    write(&house, &format!("allow = \"user:{QUIETFOX}\"\n"));
    let mut process = Process::serve(&house).await;
    write(
        &house,
        &format!(
            "allow = \"user:{MARISOL}\"\n\n[[rule]]\nhost = \"*\"\nallow = [{{ user = \"x{MARISOL}\" }}]\n"
        ),
    );
    process.hang_up();
    let said = until_it_says(&process, "the old rules stay", 1).await;
    assert!(said.contains("ERROR"), "{said}");
    for named in ["doorbook.toml:4: rule.host: ", "doorbook.toml:5: rule.allow.user: "] {
        assert!(said.contains(named), "{named}: {said}");
    }
    assert!(!said.contains(&MARISOL.to_string()), "people stay out of traces: {said}");

    // Nor does what is no TOML, or a file that is empty or gone: without a list anybody might sign in.
    let cut =
        [Some("allow = \"user:1"), Some("allow = \"\"\n"), Some(""), Some("session_idle = \"1d\"\n"), None];
    for (times, text) in (2..).zip(cut) {
        match text {
            Some(text) => write(&house, text),
            None => std::fs::remove_file(house.dir.path().join("doorbook.toml")).expect("it was there"),
        }
        process.hang_up();
        until_it_says(&process, "the old rules stay", times).await;
    }
    let refused = process.browser().sign_in(house.discord(), MARISOL).await;
    assert_eq!(refused.status, 403, "{refused}");
    process.signed_in(&house, QUIETFOX).await;
    assert_eq!(process.terminate().await.code, Some(0));
    assert_eq!(hash_changes(&house).len(), 1, "only the rules of the start");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dotenv_that_lost_who_may_sign_in_opens_it_to_nobody_until_a_restart() {
    let house = House::for_processes().await;
    let dotenv = |text: &str| std::fs::write(house.dir.path().join(".env"), text).expect("a file");
    dotenv(&format!("DOORBOOK_ALLOW=user:{QUIETFOX}\n"));
    let mut process = Process::serve(&house).await;
    dotenv("DOORBOOK_SESSION_IDLE=1d\n");
    process.hang_up();
    let said = until_it_says(&process, "the old rules stay", 1).await;
    assert!(said.contains("opening sign-in to everybody needs a restart"), "{said}");
    let refused = process.browser().sign_in(house.discord(), MARISOL).await;
    assert_eq!(refused.status, 403, "{refused}");
    process.signed_in(&house, QUIETFOX).await;
    dotenv(&format!("DOORBOOK_ALLOW=user:{MARISOL}\n"));
    process.hang_up();
    until_it_says(&process, "SIGHUP: other rules decide from now on", 1).await;
    process.signed_in(&house, MARISOL).await;
    assert_eq!(process.terminate().await.code, Some(0));
}
