//! The cookie that ties a ticket to the browser that asked for it, on the host of the app.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderValue};

use super::cookie::Cookies;
use super::request;
use crate::domain::id::Hash;

/// The most of them that a browser keeps on one host.
const MOST: usize = 8;

/// Returns the cookie of a new way to a ticket with its SHA-256, and before it the clearing of those that there is no
/// room for.
///
/// A browser sends what it has had for longest first, so those are the ones to go.
pub(super) fn begin(cookies: Cookies, headers: &HeaderMap, random: [u8; 32]) -> (Vec<HeaderValue>, Hash) {
    let binding = Hash::of(&random);
    let mut kept: Vec<&str> = Vec::new();
    for (name, _) in request::all_cookies(headers) {
        let is_ours = name.strip_prefix(cookies.binding_prefix()).is_some_and(is_id);
        if is_ours && !kept.contains(&name) {
            kept.push(name);
        }
    }
    let too_many = (kept.len() + 1).saturating_sub(MOST);
    let mut set: Vec<HeaderValue> = kept[..too_many].iter().map(|name| cookies.clear(name)).collect();
    set.push(cookies.set_binding(&name(cookies, &binding), &URL_SAFE_NO_PAD.encode(random)));
    (set, binding)
}

/// Returns whether the browser has the cookie with that SHA-256.
pub(super) fn holds(cookies: Cookies, headers: &HeaderMap, binding: &Hash) -> bool {
    let name = name(cookies, binding);
    request::cookies(headers, &name)
        .any(|value| URL_SAFE_NO_PAD.decode(value).is_ok_and(|random| Hash::of(&random) == *binding))
}

/// Takes it back.
pub(super) fn clear(cookies: Cookies, binding: &Hash) -> HeaderValue {
    cookies.clear(&name(cookies, binding))
}

fn name(cookies: Cookies, binding: &Hash) -> String {
    format!("{}{}", cookies.binding_prefix(), hex::encode(&binding.0[..8]))
}

/// Returns whether this is the end of a name that we give: a name is repeated in an answer's header.
fn is_id(id: &str) -> bool {
    id.len() == 16 && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn cookies() -> Cookies {
        Cookies::new(true, Duration::from_secs(60))
    }

    fn with(pairs: &[String]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("cookie", HeaderValue::from_str(&pairs.join("; ")).expect("ASCII"));
        headers
    }

    fn pair(set: &HeaderValue) -> String {
        set.to_str().expect("ASCII").split(';').next().expect("a pair").to_owned()
    }

    #[test]
    fn only_the_browser_that_began_holds_it() {
        let (set, binding) = begin(cookies(), &HeaderMap::new(), [7; 32]);
        let [set] = &set[..] else { panic!("{set:?}") };
        assert!(
            set.to_str().expect("ASCII").ends_with("; Path=/; Max-Age=120; HttpOnly; SameSite=Lax; Secure")
        );
        assert!(holds(cookies(), &with(&[pair(set)]), &binding));
        assert!(!holds(cookies(), &HeaderMap::new(), &binding));
        let (other, other_binding) = begin(cookies(), &HeaderMap::new(), [8; 32]);
        assert!(!holds(cookies(), &with(&[pair(&other[0])]), &binding));
        let (name, value) = (name(cookies(), &binding), pair(&other[0]));
        let renamed = format!("{name}={}", value.split_once('=').expect("a pair").1);
        assert!(!holds(cookies(), &with(&[renamed]), &binding), "the name alone proves nothing");
        assert_ne!(binding, other_binding);
    }

    #[test]
    fn parallel_tabs_have_their_own_and_the_oldest_make_room() {
        let mut browser: Vec<String> = vec!["__Host-doorbook-bind-\"x=1".into(), "other=2".into()];
        for n in 0..12 {
            let (set, binding) = begin(cookies(), &with(&browser), [n; 32]);
            for cookie in &set {
                let (name, value) =
                    pair(cookie).split_once('=').map(|(n, v)| (n.to_owned(), v.to_owned())).expect("a pair");
                browser.retain(|kept| !kept.starts_with(&format!("{name}=")));
                if !value.is_empty() {
                    browser.push(format!("{name}={value}"));
                }
            }
            assert!(holds(cookies(), &with(&browser), &binding));
            assert!(browser.len() <= MOST + 2, "{n}");
        }
        assert_eq!(browser.len(), MOST + 2, "what is not ours stays");
    }
}
