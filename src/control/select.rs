//! Which of the live sessions are meant.

use super::{SessionFilter, SessionRow, SessionUser, Trouble};
use crate::domain::id::{DiscordId, SessionKey, Sub};

/// A live session with what is never shown of it.
#[derive(Clone, Debug)]
pub struct Listed {
    /// What is shown.
    pub row: SessionRow,
    /// Whose it is.
    pub sub: Sub,
    /// The SHA-256 of its cookie's secret.
    pub key: SessionKey,
}

/// Somebody who has a name, signed in or not.
#[derive(Clone, Debug)]
pub struct Named {
    /// The pseudonym.
    pub sub: Sub,
    /// The names.
    pub user: SessionUser,
}

/// Returns the sessions that fit `filter`, newest first.
///
/// A person is meant by their id or pseudonym, or by a username or display name in any case. Display names can be
/// chosen freely, so a name that fits two people is [`Trouble::Ambiguous`] and never a guess, whether both are
/// signed in or not.
pub fn select(
    sessions: Vec<Listed>,
    people: impl FnOnce() -> Vec<Named>,
    filter: &SessionFilter,
) -> Result<Vec<SessionRow>, Trouble> {
    let wanted = filter.user.as_ref().map(|name| find(people(), name)).transpose()?;
    let mut rows: Vec<SessionRow> = sessions
        .into_iter()
        .filter(|listed| {
            let row = &listed.row;
            wanted.is_none_or(|wanted| wanted == listed.sub)
                && filter.session.is_none_or(|id| id == row.id)
                && filter.since.is_none_or(|since| row.opened_at >= since)
                && filter.key.is_none_or(|key| key == listed.key)
        })
        .map(|listed| listed.row)
        .collect();
    rows.sort_by(|a, b| b.opened_at.cmp(&a.opened_at).then(a.id.cmp(&b.id)));
    Ok(rows)
}

fn find(people: Vec<Named>, name: &str) -> Result<Sub, Trouble> {
    if let Ok(sub) = name.parse() {
        return Ok(sub);
    }
    // Somebody may call themselves by another's id, but an id names one person only.
    if let Ok(id) = name.parse::<DiscordId>()
        && let Some(person) = people.iter().find(|person| person.user.id == id)
    {
        return Ok(person.sub);
    }
    let wanted = name.to_lowercase();
    let goes_by = |user: &SessionUser| {
        user.username.to_lowercase() == wanted || user.display_name.to_lowercase() == wanted
    };
    let mut found: Vec<Named> = people.into_iter().filter(|person| goes_by(&person.user)).collect();
    found.sort_by_key(|person| (person.user.id, person.sub));
    match &found[..] {
        [] => Err(Trouble::No("nobody in this log goes by that name".to_owned())),
        [one] => Ok(one.sub),
        _ => Err(Trouble::Ambiguous(found.into_iter().map(|person| person.user).collect())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::SessionId;
    use crate::domain::time::Timestamp;

    fn named(id: u64, username: &str, display_name: &str) -> Named {
        let (username, display_name) = (username.to_owned(), display_name.to_owned());
        let sub = Sub([u8::try_from(id).unwrap(); 16]);
        Named { sub, user: SessionUser { id: DiscordId(id), username, display_name } }
    }

    fn listed(n: u8, whose: u64) -> Listed {
        let Named { sub, user } = everybody().into_iter().find(|named| named.user.id.0 == whose).unwrap();
        let row = SessionRow {
            id: SessionId([n; 16]),
            user: Some(user),
            opened_at: Timestamp(i64::from(n) * 1_000),
            last_seen_at: Timestamp(i64::from(n) * 1_000),
            expires_at: Timestamp(1_000_000),
            ip: format!("192.0.2.{n}").parse().ok(),
            user_agent: None,
        };
        Listed { row, sub, key: SessionKey([n; 32]) }
    }

    /// All but the last have sessions.
    fn everybody() -> Vec<Named> {
        vec![
            named(7, "nelly", "Nelly"),
            named(8, "bob", "NELLY"),
            named(9, "eve", "8"),
            named(10, "old", "Bob"),
        ]
    }

    fn sessions() -> Vec<Listed> {
        vec![listed(1, 7), listed(2, 7), listed(3, 8), listed(4, 9)]
    }

    fn chosen(filter: &SessionFilter) -> Result<Vec<SessionRow>, Trouble> {
        select(sessions(), everybody, filter)
    }

    #[track_caller]
    fn check(filter: SessionFilter, expected: &[u8]) {
        let rows = chosen(&filter).unwrap();
        let ids: Vec<u8> = rows.iter().map(|row| row.id.0[0]).collect();
        assert_eq!(ids, expected, "{filter:?}");
    }

    #[test]
    fn every_part_of_the_filter_narrows_and_the_newest_comes_first() {
        let none = SessionFilter::default;
        check(none(), &[4, 3, 2, 1]);
        check(SessionFilter { user: Some("7".into()), ..none() }, &[2, 1]);
        check(SessionFilter { user: Some("EVE".into()), ..none() }, &[4]);
        check(SessionFilter { user: Some("old".into()), ..none() }, &[]);
        check(SessionFilter { user: Some("08".repeat(16)), ..none() }, &[3]);
        check(SessionFilter { session: Some(SessionId([3; 16])), ..none() }, &[3]);
        check(SessionFilter { since: Some(Timestamp(3_000)), ..none() }, &[4, 3]);
        check(SessionFilter { key: Some(SessionKey([2; 32])), ..none() }, &[2]);
        check(SessionFilter { user: Some("7".into()), since: Some(Timestamp(2_000)), ..none() }, &[2]);
    }

    #[test]
    fn a_name_that_fits_two_people_is_never_a_guess() {
        // The second Bob is not signed in; they may be meant all the same.
        for (name, ids) in [("Nelly", [7, 8]), ("bob", [8, 10])] {
            let filter = SessionFilter { user: Some(name.into()), ..SessionFilter::default() };
            let Err(Trouble::Ambiguous(candidates)) = chosen(&filter) else { panic!("a guess") };
            assert_eq!(candidates.iter().map(|user| user.id.0).collect::<Vec<_>>(), ids);
        }
    }

    #[test]
    fn a_name_that_nobody_has_is_another_answer_than_nobody_signed_in() {
        let filter = SessionFilter { user: Some("nobody".into()), ..SessionFilter::default() };
        assert!(matches!(chosen(&filter), Err(Trouble::No(_))));
    }

    #[test]
    fn an_id_means_that_person_even_if_somebody_calls_themselves_by_it() {
        check(SessionFilter { user: Some("8".into()), ..SessionFilter::default() }, &[3]);
    }

    #[test]
    fn a_session_whose_person_is_unknown_is_found_by_pseudonym_alone() {
        let mut unknown = listed(5, 9);
        unknown.row.user = None;
        let by = |name: &str| SessionFilter { user: Some(name.into()), ..SessionFilter::default() };
        assert!(select(vec![unknown.clone()], Vec::new, &by("eve")).is_err());
        assert_eq!(select(vec![unknown], Vec::new, &by(&"09".repeat(16))).unwrap().len(), 1);
    }
}
