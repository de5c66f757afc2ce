//! Which of the live sessions are meant.

use super::{SessionFilter, SessionRow, SessionUser, Trouble};
use crate::domain::id::SessionKey;

/// A live session with what is never shown of it.
#[derive(Clone, Debug)]
pub struct Listed {
    /// What is shown.
    pub row: SessionRow,
    /// The SHA-256 of its cookie's secret.
    pub key: SessionKey,
}

/// Returns the sessions that fit `filter`, newest first.
///
/// A person is meant by their id, or by a username or display name in any case. Display names can be
/// chosen freely, so a name that fits two people is [`Trouble::Ambiguous`] and never a guess.
pub fn select(sessions: Vec<Listed>, filter: &SessionFilter) -> Result<Vec<SessionRow>, Trouble> {
    let wanted = match &filter.user {
        Some(name) => Some(find_user(&sessions, name)?),
        None => None,
    };
    let mut rows: Vec<SessionRow> = sessions
        .into_iter()
        .filter(|listed| {
            let row = &listed.row;
            wanted
                .as_ref()
                .is_none_or(|wanted| wanted.is_some() && row.user.as_ref().map(|user| user.id) == *wanted)
                && filter.session.is_none_or(|id| id == row.id)
                && filter
                    .network
                    .is_none_or(|network| row.ip.is_some_and(|ip| network.contains(&ip.to_canonical())))
                && filter.since.is_none_or(|since| row.opened_at >= since)
                && filter.key.is_none_or(|key| key == listed.key)
        })
        .map(|listed| listed.row)
        .collect();
    rows.sort_by(|a, b| b.opened_at.cmp(&a.opened_at).then(a.id.cmp(&b.id)));
    Ok(rows)
}

fn find_user(sessions: &[Listed], name: &str) -> Result<Option<crate::domain::id::DiscordId>, Trouble> {
    let users = || sessions.iter().filter_map(|listed| listed.row.user.as_ref());
    // Somebody may call themselves by another's id, but an id names one person only.
    if let Ok(id) = name.parse()
        && users().any(|user| user.id == id)
    {
        return Ok(Some(id));
    }
    let wanted = name.to_lowercase();
    let mut candidates: Vec<SessionUser> = users()
        .filter(|user| user.username.to_lowercase() == wanted || user.display_name.to_lowercase() == wanted)
        .cloned()
        .collect();
    candidates.sort_by_key(|user| user.id);
    candidates.dedup_by_key(|user| user.id);
    match &candidates[..] {
        [] => Ok(None),
        [one] => Ok(Some(one.id)),
        _ => Err(Trouble::Ambiguous(candidates)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::{DiscordId, SessionId};
    use crate::domain::time::Timestamp;

    fn listed(n: u8, user: u64, username: &str, display_name: &str) -> Listed {
        let user = SessionUser {
            id: DiscordId(user),
            username: username.to_owned(),
            display_name: display_name.to_owned(),
        };
        let row = SessionRow {
            id: SessionId([n; 16]),
            user: Some(user),
            opened_at: Timestamp(i64::from(n) * 1_000),
            last_seen_at: Timestamp(i64::from(n) * 1_000),
            expires_at: Timestamp(1_000_000),
            ip: format!("192.0.2.{n}").parse().ok(),
            user_agent: None,
        };
        Listed { row, key: SessionKey([n; 32]) }
    }

    fn people() -> Vec<Listed> {
        vec![
            listed(1, 7, "nelly", "Nelly"),
            listed(2, 7, "nelly", "Nelly"),
            listed(3, 8, "bob", "NELLY"),
            listed(4, 9, "eve", "8"),
        ]
    }

    #[track_caller]
    fn check(filter: SessionFilter, expected: &[u8]) {
        let rows = select(people(), &filter).unwrap();
        let ids: Vec<u8> = rows.iter().map(|row| row.id.0[0]).collect();
        assert_eq!(ids, expected, "{filter:?}");
    }

    #[test]
    fn every_part_of_the_filter_narrows_and_the_newest_comes_first() {
        let none = SessionFilter::default;
        check(none(), &[4, 3, 2, 1]);
        check(SessionFilter { user: Some("7".into()), ..none() }, &[2, 1]);
        check(SessionFilter { user: Some("BOB".into()), ..none() }, &[3]);
        check(SessionFilter { user: Some("nobody".into()), ..none() }, &[]);
        check(SessionFilter { session: Some(SessionId([3; 16])), ..none() }, &[3]);
        check(SessionFilter { network: "192.0.2.0/30".parse().ok(), ..none() }, &[3, 2, 1]);
        check(SessionFilter { since: Some(Timestamp(3_000)), ..none() }, &[4, 3]);
        check(SessionFilter { key: Some(SessionKey([2; 32])), ..none() }, &[2]);
        check(SessionFilter { user: Some("7".into()), since: Some(Timestamp(2_000)), ..none() }, &[2]);
    }

    #[test]
    fn a_name_that_fits_two_people_is_never_a_guess() {
        let filter = SessionFilter { user: Some("Nelly".into()), ..SessionFilter::default() };
        let Err(Trouble::Ambiguous(candidates)) = select(people(), &filter) else { panic!("a guess") };
        assert_eq!(candidates.iter().map(|user| user.id.0).collect::<Vec<_>>(), [7, 8]);
    }

    #[test]
    fn an_id_means_that_person_even_if_somebody_calls_themselves_by_it() {
        check(SessionFilter { user: Some("8".into()), ..SessionFilter::default() }, &[3]);
    }

    #[test]
    fn a_session_whose_person_is_unknown_fits_no_name() {
        let mut unknown = listed(5, 1, "", "");
        unknown.row.user = None;
        let filter = SessionFilter { user: Some("nobody".into()), ..SessionFilter::default() };
        assert_eq!(select(vec![unknown], &filter).unwrap(), []);
    }
}
