/// Why a peer gave no answer. The difference decides what may be tried again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// Provably no byte of the request left: there is no connection, no place on it, or the peer refused the
    /// stream (RFC 9113, section 8.7). It may be sent elsewhere, whatever it does.
    #[error("not sent: {0}")]
    NotSent(String),
    /// It may have arrived, and may have been done: the connection broke, the deadline passed, or the answer
    /// was cut short.
    #[error("sent, and not answered: {0}")]
    Sent(String),
    /// The peer answered, and the answer says no, or is not the one that was asked for.
    #[error("refused with {status}: {why}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// In words.
        why: String,
    },
}
