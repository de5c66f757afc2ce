//! Pictures of people, drawn on the spot, so that the demo needs no network.
//!
//! They are SVG under whatever extension is asked for: browsers go by the content type.

use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, X_CONTENT_TYPE_OPTIONS};
use http::{Method, StatusCode};
use maud::{Markup, html};

use super::Shared;
use super::call::Call;
use super::reply::Reply;
use crate::domain::id::{DiscordId, Hash};

/// Answers a request for a picture.
pub(super) fn answer(shared: &Shared, call: &Call) -> Reply {
    if call.method != Method::GET && call.method != Method::HEAD {
        return Reply::method_not_allowed("GET, HEAD");
    }
    if !size_is_good(&call.query) {
        return Reply::new(StatusCode::BAD_REQUEST, "text/plain; charset=utf-8", "bad size");
    }
    match picture(shared, call) {
        Ok(picture) => Reply::new(StatusCode::OK, "image/svg+xml", picture.into_string())
            .with(CACHE_CONTROL, "public, max-age=300")
            .with(X_CONTENT_TYPE_OPTIONS, "nosniff")
            .with(CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'")
            .with(HeaderName::from_static("cross-origin-resource-policy"), "cross-origin"),
        Err(status) => Reply::new(status, "text/plain; charset=utf-8", "no such picture"),
    }
}

fn picture(shared: &Shared, call: &Call) -> Result<Markup, StatusCode> {
    const NOT_FOUND: StatusCode = StatusCode::NOT_FOUND;
    let mut segments = call.path.trim_start_matches('/').split('/');
    match (segments.next(), segments.next(), segments.next(), segments.next()) {
        (Some("embed"), Some("avatars"), Some(name), None) => {
            let index = name.strip_suffix(".png").and_then(|index| index.parse::<u8>().ok());
            let index = index.filter(|index| *index < 6).ok_or(NOT_FOUND)?;
            Ok(draw(u32::from(index) * 60, "?", false))
        }
        (Some("avatars"), Some(id), Some(name), None) => {
            let (hash, extension) = name.split_once('.').ok_or(NOT_FOUND)?;
            let id: DiscordId = id.parse().map_err(|_| NOT_FOUND)?;
            let world = shared.world();
            let person =
                world.person(id).filter(|person| person.avatar.as_deref() == Some(hash)).ok_or(NOT_FOUND)?;
            let can_move = hash.starts_with("a_");
            let moves = match extension {
                "png" | "jpg" | "jpeg" => false,
                "webp" => can_move && call.query.split('&').any(|pair| pair == "animated=true"),
                "gif" if can_move => true,
                "gif" => return Err(StatusCode::UNSUPPORTED_MEDIA_TYPE),
                _ => return Err(NOT_FOUND),
            };
            let drawn = Hash::of(hash.as_bytes()).0;
            let initial = person.display_name().chars().next().unwrap_or('?').to_uppercase().to_string();
            Ok(draw(u32::from(drawn[0]) * 360 / 256, &initial, moves))
        }
        _ => Err(NOT_FOUND),
    }
}

/// A power of two from 16 to 4096, or none.
fn size_is_good(query: &str) -> bool {
    let size = query.split('&').find_map(|pair| pair.strip_prefix("size="));
    size.is_none_or(|size| {
        size.parse().is_ok_and(|size: u32| size.is_power_of_two() && (16..=4096).contains(&size))
    })
}

fn draw(hue: u32, initial: &str, moves: bool) -> Markup {
    html! {
        svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 128 128" width="128" height="128" {
            rect width="128" height="128" fill=(format!("hsl({hue} 55% 42%)")) {}
            circle cx="64" cy="64" r="52" fill=(format!("hsl({hue} 60% 52%)")) {
                @if moves {
                    animate attributeName="r" values="44;58;44" dur="2s" repeatCount="indefinite" {}
                }
            }
            text x="64" y="66" fill="#fff" font-family="system-ui, sans-serif" font-size="60" font-weight="600"
                text-anchor="middle" dominant-baseline="central" { (initial) }
        }
    }
}
