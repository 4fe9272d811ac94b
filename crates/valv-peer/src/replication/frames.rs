use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use valv_geo::wire::MESSAGE_BYTES_MAX;

/// A stream of messages, cut out of the bytes that arrive: each is its length (4 bytes, big endian) and then
/// itself. Holds no more than one message and what came with its end.
#[derive(Debug, Default)]
pub struct Frames {
    buffer: BytesMut,
}

impl Frames {
    /// Nothing has arrived.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// These bytes arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.put_slice(bytes);
    }

    /// The next whole message; None: it has not arrived whole yet.
    ///
    /// Errors: a message is announced that is longer than any may be; nothing after it can be trusted.
    pub fn next_message(&mut self) -> Result<Option<Bytes>, String> {
        let Some(length) = self.buffer.first_chunk::<4>() else { return Ok(None) };
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        if length > MESSAGE_BYTES_MAX {
            return Err(format!("a message of {length} bytes; at most {MESSAGE_BYTES_MAX}"));
        }
        if self.buffer.len() < 4 + length {
            return Ok(None);
        }
        self.buffer.advance(4);
        Ok(Some(self.buffer.split_to(length).freeze()))
    }

    /// Part of a message has arrived, and not all of it.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        !self.buffer.is_empty()
    }
}

/// A message as it goes out.
///
/// Errors: it is longer than any may be.
pub(crate) fn frame(message: &Bytes) -> Result<Bytes, String> {
    let length = u32::try_from(message.len()).ok().filter(|_| message.len() <= MESSAGE_BYTES_MAX);
    let length = length.ok_or_else(|| format!("a message of {} bytes", message.len()))?;
    let mut framed = BytesMut::with_capacity(4 + message.len());
    framed.put_u32(length);
    framed.put_slice(message);
    Ok(framed.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_out_as_they_went_in_however_they_are_cut() {
        let messages = [Bytes::new(), Bytes::from_static(b"one"), Bytes::from(vec![7; 100_000])];
        let sent: Vec<u8> = messages.iter().flat_map(|m| frame(m).unwrap()).collect();
        for step in [1, 3, 4, 5, 4_096, sent.len()] {
            let (mut frames, mut got) = (Frames::new(), Vec::new());
            for part in sent.chunks(step) {
                frames.push(part);
                while let Some(message) = frames.next_message().unwrap() {
                    got.push(message);
                }
            }
            assert_eq!(got, messages);
            assert!(!frames.is_cut());
        }
        let mut frames = Frames::new();
        frames.push(&sent[..sent.len() - 1]);
        while frames.next_message().unwrap().is_some() {}
        assert!(frames.is_cut());
    }

    #[test]
    fn a_length_beyond_the_limit_is_refused_before_anything_of_it_is_waited_for() {
        let mut frames = Frames::new();
        frames.push(&u32::try_from(MESSAGE_BYTES_MAX + 1).unwrap().to_be_bytes());
        assert!(frames.next_message().is_err());
        assert!(frame(&Bytes::from(vec![0; MESSAGE_BYTES_MAX + 1])).is_err());
    }
}
