//! Who can sign in at the stand-in: six invented people, each of whom breaks another wrong assumption.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::domain::id::DiscordId;

/// The guild of the seeded people.
pub const DEMO_GUILD: DiscordId = DiscordId(716_984_394_187_276_294);

/// The first role of [`DEMO_GUILD`].
pub const DEMO_ROLE_MAKER: DiscordId = DiscordId(716_985_688_452_759_555);

/// The second role of [`DEMO_GUILD`].
pub const DEMO_ROLE_KEEPER: DiscordId = DiscordId(873_839_986_770_714_645);

/// Somebody with an account at the stand-in.
///
/// It is also the shape that the control endpoint reads and writes; ids are decimal strings there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Person {
    /// The id, which never changes.
    #[serde(with = "id")]
    pub id: DiscordId,
    /// The user name.
    pub username: String,
    /// `0`, or four digits for a name of the old system.
    #[serde(default = "zero")]
    pub discriminator: String,
    /// The display name, if one was chosen.
    #[serde(default)]
    pub global_name: Option<String>,
    /// The hash of the avatar; `a_` in front says that it is animated.
    #[serde(default)]
    pub avatar: Option<String>,
    /// The e-mail address, if the account has one.
    #[serde(default)]
    pub email: Option<String>,
    /// Whether the e-mail address is verified.
    #[serde(default)]
    pub verified: bool,
    /// The language.
    #[serde(default = "english")]
    pub locale: String,
    /// Whether a second factor is on.
    #[serde(default)]
    pub mfa_enabled: bool,
    /// The colour of the profile.
    #[serde(default)]
    pub accent_color: Option<u32>,
    /// The public flags.
    #[serde(default)]
    pub public_flags: u64,
    /// The guilds this person is a member of.
    #[serde(default)]
    pub guilds: Vec<Membership>,
    /// What is special about this person, in a few words for those who pick.
    #[serde(default)]
    pub note: String,
}

/// A person's membership in one guild.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Membership {
    /// The guild.
    #[serde(with = "id")]
    pub guild: DiscordId,
    /// The roles, without the one everybody has.
    #[serde(default, with = "ids")]
    pub roles: Vec<DiscordId>,
    /// The name used in this guild.
    #[serde(default)]
    pub nick: Option<String>,
    /// Whether the rules of the guild are still to be accepted.
    #[serde(default)]
    pub pending: bool,
    /// When this person joined, as Discord writes it.
    #[serde(default = "long_ago")]
    pub joined_at: Option<String>,
}

impl Person {
    /// Returns a plain account with nothing but an id and a user name.
    pub fn new(id: DiscordId, username: impl Into<String>) -> Person {
        Person {
            id,
            username: username.into(),
            discriminator: zero(),
            global_name: None,
            avatar: None,
            email: None,
            verified: false,
            locale: english(),
            mfa_enabled: false,
            accent_color: None,
            public_flags: 0,
            guilds: Vec::new(),
            note: String::new(),
        }
    }

    /// Returns the name that is shown: the display name, or else the user name.
    pub fn display_name(&self) -> &str {
        self.global_name.as_deref().unwrap_or(&self.username)
    }

    /// Returns the user name, with the four digits where there are some.
    pub fn tag(&self) -> String {
        match self.discriminator.as_str() {
            "0" => self.username.clone(),
            digits => format!("{}#{digits}", self.username),
        }
    }

    /// Returns the path of the avatar below the address of the CDN.
    pub fn avatar_path(&self) -> String {
        match &self.avatar {
            Some(hash) => format!("/avatars/{}/{hash}.webp", self.id),
            None => format!("/embed/avatars/{}.png", self.default_avatar()),
        }
    }

    fn default_avatar(&self) -> u64 {
        match self.discriminator.parse() {
            Ok(0_u64) | Err(_) => (self.id.0 >> 22) % 6,
            Ok(digits) => digits % 5,
        }
    }

    /// Returns the user object of the API; `email` and `verified` only where the scope allows.
    pub(super) fn user(&self, with_email: bool) -> Value {
        let mut user = self.partial_user();
        user["locale"] = json!(self.locale);
        user["mfa_enabled"] = json!(self.mfa_enabled);
        user["premium_type"] = json!(0);
        if with_email {
            user["email"] = json!(self.email);
            user["verified"] = json!(self.verified);
        }
        user
    }

    /// Returns the user object without e-mail and locale, as it is embedded in other answers.
    pub(super) fn partial_user(&self) -> Value {
        json!({
            "id": self.id.to_string(),
            "username": self.username,
            "discriminator": self.discriminator,
            "global_name": self.global_name,
            "avatar": self.avatar,
            "banner": null,
            "accent_color": self.accent_color,
            "public_flags": self.public_flags,
            "flags": self.public_flags,
            "avatar_decoration_data": null,
            "collectibles": null,
            "primary_guild": null,
        })
    }

    /// Returns the member object for `guild`, or nothing where this person is not a member.
    pub(super) fn member(&self, guild: DiscordId) -> Option<Value> {
        let membership = self.guilds.iter().find(|membership| membership.guild == guild)?;
        Some(json!({
            "avatar": null,
            "banner": null,
            "communication_disabled_until": null,
            "flags": 0,
            "joined_at": membership.joined_at,
            "nick": membership.nick,
            "pending": membership.pending,
            "premium_since": null,
            "roles": membership.roles.iter().map(DiscordId::to_string).collect::<Vec<_>>(),
            "user": self.partial_user(),
            "mute": false,
            "deaf": false,
        }))
    }
}

impl Membership {
    /// Returns a membership with these roles.
    pub fn new(guild: DiscordId, roles: &[DiscordId]) -> Membership {
        Membership { guild, roles: roles.to_vec(), nick: None, pending: false, joined_at: long_ago() }
    }
}

/// Returns the six people that the stand-in knows unless it is told otherwise.
pub fn seeded() -> Vec<Person> {
    let maker = Membership::new(DEMO_GUILD, &[DEMO_ROLE_MAKER]);
    vec![
        Person {
            global_name: Some("Marisol".into()),
            avatar: Some("a_3f1c5d7e9b2a4c6d8e0f1a2b3c4d5e6f".into()),
            email: Some("marisol@example.test".into()),
            verified: true,
            locale: "es-ES".into(),
            mfa_enabled: true,
            accent_color: Some(3_447_003),
            public_flags: 64,
            guilds: vec![Membership {
                nick: Some("Mari (ops)".into()),
                ..Membership::new(DEMO_GUILD, &[DEMO_ROLE_MAKER, DEMO_ROLE_KEEPER])
            }],
            note: "animated avatar, both roles".into(),
            ..Person::new(DiscordId(555_769_466_601_213_960), "marisol.k")
        },
        Person {
            guilds: vec![Membership { pending: true, ..Membership::new(DEMO_GUILD, &[]) }],
            note: "no avatar, no display name, no e-mail; has not accepted the guild's rules".into(),
            ..Person::new(DiscordId(1_169_698_460_971_323_693), "quietfox")
        },
        Person {
            discriminator: "0042".into(),
            email: Some("old.timer@example.test".into()),
            verified: true,
            locale: "de".into(),
            guilds: vec![maker.clone()],
            note: "a name of the old system, with four digits".into(),
            ..Person::new(DiscordId(129_674_457_911_398_400), "Old Timer")
        },
        Person {
            global_name: Some("Tess".into()),
            avatar: Some("c41d9b70aa52e6138f04bd27590e6c8d".into()),
            email: Some("tess@example.test".into()),
            verified: false,
            guilds: vec![maker.clone()],
            note: "e-mail not verified".into(),
            ..Person::new(DiscordId(844_213_579_902_976_001), "tess_lowe")
        },
        Person {
            global_name: Some("🦊 שלום <script>alert(1)</script>".into()),
            avatar: Some("07e5b3a91c2d4f6880b1d2e3f4a59687".into()),
            email: Some("fox@example.test".into()),
            verified: true,
            locale: "he".into(),
            guilds: vec![Membership {
                nick: Some("\u{202e}txet desrever".into()),
                ..Membership::new(DEMO_GUILD, &[DEMO_ROLE_KEEPER])
            }],
            note: "emoji, right-to-left text and markup in the name".into(),
            ..Person::new(DiscordId(1_047_205_361_884_528_643), "fox")
        },
        Person {
            global_name: Some("Bartholomew Featherstonehaugh II".into()),
            avatar: Some("5b8f21d4c6e7309a1f2e3d4c5b6a7988".into()),
            email: Some("bartholomew@example.test".into()),
            verified: true,
            locale: "en-GB".into(),
            note: "names of 32 characters; in no guild".into(),
            ..Person::new(DiscordId(993_617_488_203_104_257), "bartholomew_featherstonehaugh_03")
        },
    ]
}

fn zero() -> String {
    "0".into()
}

fn english() -> String {
    "en-US".into()
}

#[expect(clippy::unnecessary_wraps, reason = "serde wants the type of the field")]
fn long_ago() -> Option<String> {
    Some("2021-08-09T10:11:12.131000+00:00".into())
}

/// Ids as JSON carries them: decimal strings.
pub(super) mod id {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::domain::id::DiscordId;

    pub(crate) fn serialize<S: Serializer>(id: &DiscordId, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(id)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<DiscordId, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// Lists of ids as JSON carries them.
pub(super) mod ids {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::domain::id::DiscordId;

    pub(crate) fn serialize<S: Serializer>(ids: &[DiscordId], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(ids.iter().map(DiscordId::to_string))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<DiscordId>, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        texts.iter().map(|text| text.parse().map_err(D::Error::custom)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Row 36: every kind of account that is easily forgotten is among the six.
    #[test]
    fn the_six_people_cover_what_is_easily_forgotten() {
        let people = seeded();
        assert_eq!(people.len(), 6);
        let some = |what: &dyn Fn(&Person) -> bool| people.iter().any(what);
        assert!(some(&|p| p.avatar.as_deref().is_some_and(|hash| hash.starts_with("a_"))));
        assert!(some(&|p| p.avatar.is_none()));
        assert!(some(&|p| p.global_name.is_none()));
        assert!(some(&|p| p.email.is_none()));
        assert!(some(&|p| p.email.is_some() && !p.verified));
        assert!(some(&|p| p.tag() == "Old Timer#0042"));
        assert!(some(&|p| {
            let name = p.display_name();
            name.contains('🦊') && name.contains('ש') && name.contains("<script>")
        }));
        assert!(some(&|p| p.username.chars().count() == 32 && p.display_name().chars().count() == 32));
        assert!(people.iter().all(|p| p.display_name().chars().count() <= 32));
        assert!(some(&|p| p.guilds.is_empty()) && some(&|p| p.guilds.iter().any(|g| g.pending)));
    }

    #[test]
    fn default_avatars_follow_the_published_rule() {
        let path = |id, discriminator: &str| {
            Person { discriminator: discriminator.into(), ..Person::new(DiscordId(id), "x") }.avatar_path()
        };
        assert_eq!(path(555_769_466_601_213_960, "0"), "/embed/avatars/3.png");
        assert_eq!(path(1_169_698_460_971_323_693, "0"), "/embed/avatars/2.png");
        assert_eq!(path(129_674_457_911_398_400, "0042"), "/embed/avatars/2.png");
    }

    #[test]
    fn a_person_survives_json_and_a_wrong_key_is_refused() {
        for person in seeded() {
            let text = serde_json::to_string(&person).expect("writes");
            assert_eq!(serde_json::from_str::<Person>(&text).expect("reads"), person);
        }
        assert!(serde_json::from_str::<Person>(r#"{"id":"1","username":"a","globalname":"b"}"#).is_err());
        assert!(serde_json::from_str::<Person>(r#"{"id":1,"username":"a"}"#).is_err());
    }
}
