//! Fuzzed: whatever text is read as a copy, what is taken from it is written as the same text and taken again.

use std::io::Cursor;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::Value;

use super::clear::Clear;
use super::{Copied, CopyError, CopyReader, Line, Next};
use crate::audit::{Chunk, Opener, ReadError, Reader, Records, Source};
use crate::domain::event::{Event, MadeBy};
use crate::domain::id::{LogId, Position, RecordId, WriterId};
use crate::domain::record::{Actor, Context, Record};
use crate::domain::time::Timestamp;
use crate::event_log::codec::{MAX_FRAME, decode_raw, encode_record};
use crate::event_log::{Found, Lookup};

/// The most lines of which records are taken.
const RECORDS: usize = 64;

/// Reads the bytes as a copy, and then each of their lines as a record of a log that is otherwise whole.
pub fn import(bytes: &[u8]) {
    if let Ok((frames, copied)) = copy(bytes) {
        let (text, exported) = export(&frames).unwrap_or_else(|wrong| panic!("{wrong}"));
        assert_eq!(exported, copied);
        again(&text, &frames);
    }
    let mut frames = vec![beginning()];
    for line in bytes.split(|byte| *byte == b'\n').take(RECORDS) {
        frames.extend(one_line(line));
    }
    if let Ok((text, _)) = export(&frames) {
        again(&text, &frames);
    }
}

/// Takes the record of a line, whatever stands around it, if its bytes are one.
fn one_line(line: &[u8]) -> Option<Bytes> {
    let given = serde_json::from_slice::<Line<Value>>(line).ok()?;
    let frame = STANDARD.decode(&given.raw).ok()?;
    let clear = Clear::of(&frame).ok()?;
    assert!(frame.len() <= MAX_FRAME && decode_raw(&frame).is_ok());
    // Our own words agree with the bytes, and where the given ones are these, the line is ours.
    let Line { position, raw, event } =
        Line { position: given.position, raw: STANDARD.encode(&frame), event: &clear.said };
    assert_eq!(raw, given.raw, "one way to write bytes");
    let words = serde_json::to_value(event).unwrap_or_else(|wrong| panic!("{wrong}"));
    assert!(clear.agrees(&words), "{words}");
    assert!(!clear.agrees(&Value::Null) && !clear.agrees(&Value::Array(Vec::new())));
    if given.event == words {
        let ours = serde_json::to_string(&Line { position, raw, event });
        let read = ours.ok().and_then(|ours| serde_json::from_str::<Line<Value>>(&ours).ok());
        assert!(read.is_some_and(|read| read.event == words && read.raw == given.raw));
    }
    Some(frame.into())
}

/// Reads what was written; only a signature or a key in it may be wrong, for nobody has signed it.
fn again(text: &[u8], frames: &[Bytes]) {
    match copy(text) {
        Ok((found, copied)) => {
            assert_eq!(found, frames);
            let (same, exported) = export(&found).unwrap_or_else(|wrong| panic!("{wrong}"));
            assert!(same == text && exported == copied, "another text");
        }
        Err(CopyError::Signature { .. } | CopyError::Signed { .. }) => {}
        Err(other) => panic!("{other}: {other:?}"),
    }
}

fn copy(text: &[u8]) -> Result<(Vec<Bytes>, Copied), CopyError> {
    let mut input = Cursor::new(text);
    let mut reader = CopyReader::begin(&mut input)?;
    let mut frames = Vec::new();
    loop {
        match reader.next()? {
            Next::Record(frame) => frames.push(frame),
            Next::End(copied) => return Ok((frames, *copied)),
        }
    }
}

fn export(frames: &[Bytes]) -> Result<(Vec<u8>, Copied), String> {
    let (reader, head) = (Reader::new(Arc::new(Held(frames.to_vec())), Opener::default()), last(frames));
    let written = async {
        let survey = reader.survey(head, |_| ()).await.map_err(|wrong| wrong.to_string())?;
        let mut text = Vec::new();
        let copied =
            reader.export(&survey, head, &mut text, |_| ()).await.map_err(|wrong| wrong.to_string())?;
        Ok((text, copied))
    };
    written.now_or_never().unwrap_or_else(|| panic!("it waits for what is there"))
}

fn last(frames: &[Bytes]) -> Position {
    Position(u64::try_from(frames.len()).unwrap_or(0).saturating_sub(1))
}

/// Returns a record that begins a log.
fn beginning() -> Bytes {
    let record = Record {
        id: RecordId([1; 16]),
        at: Timestamp(1_767_323_045_000),
        subject: None,
        context: Context {
            writer: WriterId([2; 8]),
            actor: Actor { kind: crate::domain::event::ActorKind::System, sub: None, via: None },
            request: None,
            cause: None,
            route: None,
        },
        events: vec![Event::LogCreated {
            log: LogId([3; 16]),
            origin: "https://login.example.org".into(),
            made_by: MadeBy::Serve,
            public_key: [0x58; 32],
            version: "0.1.0".into(),
        }],
        sealed: Vec::new(),
    };
    encode_record(&record).unwrap_or_else(|wrong| panic!("{wrong}")).into()
}

/// A log in memory that nobody waits for.
struct Held(Vec<Bytes>);

impl Source for Held {
    fn head(&self) -> BoxFuture<'_, Result<Option<Position>, ReadError>> {
        let head = (!self.0.is_empty()).then(|| last(&self.0));
        Box::pin(async move { Ok(head) })
    }

    fn find(&self, _: Lookup) -> BoxFuture<'_, Result<Option<Found>, ReadError>> {
        Box::pin(async { Ok(None) })
    }

    fn pick(&self, _: Vec<Position>) -> BoxFuture<'_, Result<Chunk, ReadError>> {
        Box::pin(async { Err(ReadError::Closed) })
    }

    fn records(
        &self,
        _: Position,
        _: Option<Position>,
    ) -> BoxFuture<'_, Result<Box<dyn Records>, ReadError>> {
        let all: Chunk = (0..).map(Position).zip(self.0.iter().cloned()).collect();
        Box::pin(async { Ok(Box::new(Once(Some(all))) as Box<dyn Records>) })
    }
}

struct Once(Option<Chunk>);

impl Records for Once {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Chunk>, ReadError>> {
        let all = self.0.take();
        Box::pin(async { Ok(all) })
    }
}
