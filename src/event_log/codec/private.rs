//! The facts that are sealed: each as bytes, and the list of them that goes into a box.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use zeroize::Zeroizing;

use super::canonical::{decode, encode};
use super::{DecodeError, EncodeError, kinds, wire};
use crate::domain::event::{Learned, Membership, Origin, Private, Profile, Stranger, Tokens};
use crate::domain::id::{DiscordId, Secret};

const MEMBERSHIP: &str = "a membership";

/// The index that stands for the record's context in a box.
pub const CONTEXT: u16 = 0xFFFF;

/// One fact in a box, before it is sealed or after it has been opened.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedFact {
    /// The index of its event in the record, or [`CONTEXT`].
    pub index: u16,
    /// The version of its shape.
    pub version: u8,
    /// What [`super::serialize_event`] or [`serialize_origin`] gave; wiped when dropped.
    pub payload: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for SealedFact {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SealedFact")
            .field("index", &self.index)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

/// Writes the plaintext of a box.
pub fn encode_sealed(facts: &[SealedFact]) -> Result<Zeroizing<Vec<u8>>, EncodeError> {
    let facts: Vec<wire::SealedFactV1<'_>> = facts
        .iter()
        .map(|fact| wire::SealedFactV1 { index: fact.index, version: fact.version, payload: &fact.payload })
        .collect();
    encode("the content of a box", &facts).map(Zeroizing::new)
}

/// Reads the plaintext of a box.
pub fn decode_sealed(bytes: &[u8]) -> Result<Vec<SealedFact>, DecodeError> {
    let facts: Vec<wire::SealedFactV1<'_>> = decode("the content of a box", bytes)?;
    Ok(facts
        .iter()
        .map(|fact| SealedFact {
            index: fact.index,
            version: fact.version,
            payload: Zeroizing::new(fact.payload.to_vec()),
        })
        .collect())
}

/// Writes where a request came from, in the newest shape.
pub fn serialize_origin(origin: &Origin) -> Result<(u8, Zeroizing<Vec<u8>>), EncodeError> {
    let stored = wire::OriginV1 {
        ip: origin.ip.map(|ip| match ip {
            IpAddr::V4(ip) => wire::AddressV1::V4(ip.octets()),
            IpAddr::V6(ip) => wire::AddressV1::V6(ip.octets()),
        }),
        learned: origin.learned.code(),
        user_agent: origin.user_agent.as_deref(),
    };
    Ok((1, Zeroizing::new(encode("an origin", &stored)?)))
}

/// Reads where a request came from, in any shape ever written.
pub fn deserialize_origin(version: u8, bytes: &[u8]) -> Result<Origin, DecodeError> {
    if version != 1 {
        return Err(DecodeError::UnknownContext { version });
    }
    let stored: wire::OriginV1<'_> = decode("an origin", bytes)?;
    Ok(Origin {
        ip: stored.ip.map(|ip| match ip {
            wire::AddressV1::V4(octets) => IpAddr::V4(Ipv4Addr::from(octets)),
            wire::AddressV1::V6(octets) => IpAddr::V6(Ipv6Addr::from(octets)),
        }),
        learned: Learned::from_code(stored.learned),
        user_agent: stored.user_agent.map(Into::into),
    })
}

/// Writes the sealed fact of an event of this kind, in the shape that goes with the newest event.
pub(super) fn serialize_private(kind: u16, private: &Private) -> Result<Zeroizing<Vec<u8>>, EncodeError> {
    let bytes = match (kind, private) {
        (kinds::GRANT_ISSUED | kinds::GRANT_REFRESHED, Private::Tokens(tokens)) => {
            let Tokens { access, refresh } = tokens;
            encode("tokens", &wire::TokensV1 { access: access.expose(), refresh: refresh.expose() })
        }
        (kinds::PROFILE_OBSERVED, Private::Profile(profile)) => encode("a profile", &profile_v1(profile)),
        (kinds::MEMBERSHIP_OBSERVED, Private::Membership(membership)) => {
            encode(MEMBERSHIP, &membership_v1(membership))
        }
        (kinds::RULES_CHANGED, Private::Rules(text)) => encode("the rules", &wire::TextV1 { text }),
        (kinds::SESSION_OPENED, Private::Label(text)) => encode("a label", &wire::TextV1 { text }),
        (kinds::SESSION_REVOKED, Private::Reason(text)) => encode("a reason", &wire::TextV1 { text }),
        (kinds::SIGN_IN_DENIED, Private::Denied(stranger)) => {
            let Stranger { profile, memberships } = &**stranger;
            let memberships = memberships.iter().map(membership_v1).collect();
            encode("a denied stranger", &wire::DeniedV1 { profile: profile_v1(profile), memberships })
        }
        (kinds::AUDIT_READ | kinds::AUDIT_EXPORTED, Private::Networks(networks)) => {
            encode("networks", &wire::NetworksV1 { networks: networks.iter().map(String::as_str).collect() })
        }
        (kind, _) => Err(EncodeError::NotOfThisKind { kind }),
    };
    bytes.map(Zeroizing::new)
}

/// Reads the sealed fact of an event, in any shape ever written.
pub fn deserialize_private(kind: u16, version: u8, sealed: &[u8]) -> Result<Private, DecodeError> {
    match (kind, version) {
        (kinds::GRANT_ISSUED | kinds::GRANT_REFRESHED, 1) => {
            let stored: wire::TokensV1<'_> = decode("tokens", sealed)?;
            let (access, refresh) = (Secret::new(stored.access), Secret::new(stored.refresh));
            Ok(Private::Tokens(Tokens { access, refresh }))
        }
        (kinds::PROFILE_OBSERVED, 1) => {
            Ok(Private::Profile(profile(&decode::<wire::ProfileV1<'_>>("a profile", sealed)?)))
        }
        (kinds::MEMBERSHIP_OBSERVED, 1) => {
            let stored: wire::MembershipV1<'_> = decode(MEMBERSHIP, sealed)?;
            Ok(Private::Membership(membership(&stored)?))
        }
        (kinds::RULES_CHANGED, 1) => {
            Ok(Private::Rules(decode::<wire::TextV1<'_>>("the rules", sealed)?.text.into()))
        }
        (kinds::SESSION_OPENED, 1) => {
            Ok(Private::Label(decode::<wire::TextV1<'_>>("a label", sealed)?.text.into()))
        }
        (kinds::SESSION_REVOKED, 1) => {
            Ok(Private::Reason(decode::<wire::TextV1<'_>>("a reason", sealed)?.text.into()))
        }
        (kinds::SIGN_IN_DENIED, 1) => {
            let stored: wire::DeniedV1<'_> = decode("a denied stranger", sealed)?;
            let memberships = stored.memberships.iter().map(membership).collect::<Result<_, _>>()?;
            Ok(Private::Denied(Box::new(Stranger { profile: profile(&stored.profile), memberships })))
        }
        (kinds::AUDIT_READ | kinds::AUDIT_EXPORTED, 1) => {
            let stored: wire::NetworksV1<'_> = decode("networks", sealed)?;
            Ok(Private::Networks(stored.networks.into_iter().map(Into::into).collect()))
        }
        (kind, version) => Err(DecodeError::Unknown { kind, version }),
    }
}

fn profile_v1(profile: &Profile) -> wire::ProfileV1<'_> {
    wire::ProfileV1 {
        id: profile.id.0,
        username: &profile.username,
        global_name: profile.global_name.as_deref(),
        discriminator: &profile.discriminator,
        avatar: profile.avatar.as_deref(),
        locale: profile.locale.as_deref(),
        email: profile.email.as_deref(),
        email_verified: profile.email_verified,
    }
}

fn membership_v1(membership: &Membership) -> wire::MembershipV1<'_> {
    wire::MembershipV1 {
        guild: membership.guild.0,
        member: membership.member,
        roles: membership.roles.iter().map(|role| role.0).collect(),
        nick: membership.nick.as_deref(),
        pending: Some(membership.pending),
    }
}

fn membership(stored: &wire::MembershipV1<'_>) -> Result<Membership, DecodeError> {
    Ok(Membership {
        guild: DiscordId(stored.guild),
        member: stored.member,
        roles: stored.roles.iter().copied().map(DiscordId).collect(),
        nick: stored.nick.map(Into::into),
        // Nothing has ever written a membership that does not say so.
        pending: stored.pending.ok_or(DecodeError::Malformed { what: MEMBERSHIP })?,
    })
}

fn profile(stored: &wire::ProfileV1<'_>) -> Profile {
    Profile {
        id: DiscordId(stored.id),
        username: stored.username.into(),
        global_name: stored.global_name.map(Into::into),
        discriminator: stored.discriminator.into(),
        avatar: stored.avatar.map(Into::into),
        locale: stored.locale.map(Into::into),
        email: stored.email.map(Into::into),
        email_verified: stored.email_verified,
    }
}
