use std::time::Duration;

/// What peers may take of a node's inter-node listener.
#[derive(Clone, Debug)]
pub struct ListenSettings {
    /// Open connections; further ones are closed at once.
    pub connections: usize,
    /// Streams of one connection at a time; further ones are refused before anything of them is read.
    pub streams: u32,
    /// Bytes of a forwarded request's body: a restore's is the largest.
    pub body_bytes: usize,
    /// Bytes of all header names and values.
    pub header_bytes: usize,
    /// For the TLS handshake.
    pub handshake: Duration,
    /// For a forwarded request's body.
    pub body_read: Duration,
    /// For the answer to any question: then the peer gets 503. What was begun goes on.
    pub answer: Duration,
    /// For a frame of a replication stream to be taken by the peer.
    pub frame: Duration,
    /// A connection is asked for a sign of life so often, and ends when none comes for as long again.
    pub keep_alive: Duration,
    /// For requests under way when the node stops.
    pub drain: Duration,
}

impl Default for ListenSettings {
    fn default() -> Self {
        Self {
            connections: 1_024,
            streams: 1_024,
            body_bytes: 33 << 20,
            header_bytes: 96 << 10,
            handshake: Duration::from_secs(3),
            body_read: Duration::from_secs(20),
            answer: Duration::from_secs(60),
            frame: Duration::from_secs(10),
            keep_alive: Duration::from_secs(2),
            drain: Duration::from_secs(20),
        }
    }
}

/// How a node speaks to its peers.
#[derive(Clone, Debug)]
pub struct ClientSettings {
    /// For name resolution, connection and TLS together.
    pub connect: Duration,
    /// The pause before a node that could not be reached is tried again grows from a tenth of this to this.
    pub reconnect: Duration,
    /// A connection is pinged so often.
    pub ping: Duration,
    /// And ends when a ping is not answered for so long.
    pub ping_timeout: Duration,
    /// Requests under way to one node at a time.
    pub in_flight: usize,
    /// Bytes of an answer.
    pub answer_bytes: usize,
    /// For the next frame of a replication stream.
    pub frame: Duration,
}

impl Default for ClientSettings {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(1),
            reconnect: Duration::from_secs(1),
            ping: Duration::from_millis(500),
            ping_timeout: Duration::from_secs(1),
            in_flight: 1_000,
            answer_bytes: 33 << 20,
            frame: Duration::from_secs(10),
        }
    }
}
