//! Lets the kubelet in by a door that its calls do not fit through.
//!
//! When the kubelet calls a plugin's registration socket it names that socket's path as the request's `:authority`,
//! percent-encoded (`%2Fvar%2Flib%2F…`: grpc-go does so for a target without a host, and the kubelet's plugin manager
//! sets no other). That is no authority in the sense of RFC 3986, and the HTTP/2 library refuses the request before
//! anyone could look at it. So the bytes pass through here, where the header is replaced; all else is left as it is.

use std::io;

use futures::{Stream, StreamExt as _};
use httlib_hpack::{Decoder, Encoder};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream, copy, duplex, split},
    net::UnixListener,
};
use tokio_stream::wrappers::UnixListenerStream;

/// What stands in place of the path.
const AUTHORITY: &[u8] = b"localhost";

/// What an HTTP/2 client sends first (RFC 9113, section 3.4).
const PREFACE_BYTES: usize = 24;
/// Length (3), type, flags, stream (4): RFC 9113, section 4.1.
const FRAME_HEADER_BYTES: usize = 9;
/// The largest payload that may be sent to a server that has not allowed more.
const PAYLOAD_BYTES_MAX: usize = 1 << 14;
const TYPE_HEADERS: u8 = 1;
const FLAG_END_STREAM: u8 = 0x1;
const FLAG_END_HEADERS: u8 = 0x4;

/// How many bytes wait between the two sides.
const BUFFER_BYTES: usize = 1 << 16;

/// The connections of a listener, each request with an authority that can be read. A connection that fails ends alone.
pub(super) fn connections(listener: UnixListener) -> impl Stream<Item = io::Result<DuplexStream>> {
    UnixListenerStream::new(listener).map(|accepted| {
        let (mut from_kubelet, mut to_kubelet) = accepted?.into_split();
        let (inner, outer) = duplex(BUFFER_BYTES);
        let (mut from_server, mut to_server) = split(outer);
        tokio::spawn(async move {
            let requests = async {
                rewrite(&mut from_kubelet, &mut to_server).await?;
                to_server.shutdown().await
            };
            let answers = async {
                copy(&mut from_server, &mut to_kubelet).await?;
                to_kubelet.shutdown().await
            };
            if let Err(error) = tokio::try_join!(requests, answers) {
                tracing::debug!(%error, "a connection of the kubelet's ended early");
            }
        });
        Ok(inner)
    })
}

/// Passes a client's bytes on, with another authority in each block of headers.
async fn rewrite(from: &mut (impl AsyncRead + Unpin), to: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    let mut preface = [0; PREFACE_BYTES];
    from.read_exact(&mut preface).await?;
    to.write_all(&preface).await?;
    let mut headers = Headers::default();
    let mut head = [0; FRAME_HEADER_BYTES];
    loop {
        match from.read_exact(&mut head).await {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            read => read?,
        };
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        if length > PAYLOAD_BYTES_MAX {
            return Err(io::Error::other("a frame is larger than was allowed"));
        }
        let mut payload = vec![0; length];
        from.read_exact(&mut payload).await?;
        if head[3] == TYPE_HEADERS {
            payload = headers.rewrite(head[4], payload)?;
            let length = u32::try_from(payload.len()).map_err(io::Error::other)?.to_be_bytes();
            head[..3].copy_from_slice(&length[1..]);
        }
        to.write_all(&head).await?;
        to.write_all(&payload).await?;
        to.flush().await?;
    }
}

/// The compression state of one direction. Blocks are written without reference to earlier ones, so that only reading
/// needs a memory of them.
#[derive(Default)]
struct Headers {
    decoder: Decoder<'static>,
    encoder: Encoder<'static>,
}

impl Headers {
    fn rewrite(&mut self, flags: u8, mut block: Vec<u8>) -> io::Result<Vec<u8>> {
        // The kubelet's few headers fit into one frame, without padding and priority.
        if flags & FLAG_END_HEADERS == 0 || flags & !(FLAG_END_HEADERS | FLAG_END_STREAM) != 0 {
            return Err(io::Error::other("a block of headers is not as the kubelet writes them"));
        }
        let mut fields = Vec::new();
        self.decoder.decode(&mut block, &mut fields).map_err(|error| io::Error::other(format!("{error:?}")))?;
        let mut rewritten = Vec::new();
        for (name, value, _) in fields {
            let value = if name == b":authority" { AUTHORITY.to_vec() } else { value };
            self.encoder
                .encode((name, value, 0), &mut rewritten)
                .map_err(|error| io::Error::other(format!("{error:?}")))?;
        }
        Ok(rewritten)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A connection's bytes: the preface, and a block of headers with this authority in a frame, each as often as asked.
    fn request(encoder: &mut Encoder<'_>, authority: &str) -> Vec<u8> {
        let mut block = Vec::new();
        for (name, value) in [(":method", "POST"), (":authority", authority), ("te", "trailers")] {
            // With indexing, as grpc-go writes them: later blocks refer to earlier ones.
            let field = (Vec::from(name), Vec::from(value), Encoder::WITH_INDEXING | Encoder::BEST_FORMAT);
            encoder.encode(field, &mut block).unwrap();
        }
        let length = u8::try_from(block.len()).unwrap();
        let mut frame = vec![0, 0, length, TYPE_HEADERS, FLAG_END_HEADERS, 0, 0, 0, 1];
        frame.extend(block);
        frame
    }

    #[tokio::test]
    async fn the_sockets_path_is_replaced_in_every_request_and_nothing_else_is_changed() {
        let mut encoder = Encoder::default();
        let ping = [0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
        let mut sent = vec![b'P'; PREFACE_BYTES];
        sent.extend(request(&mut encoder, "%2Fvar%2Flib%2Fkubelet%2Fx.sock"));
        sent.extend(ping);
        sent.extend(request(&mut encoder, "%2Fvar%2Flib%2Fkubelet%2Fx.sock"));

        let mut received = Vec::new();
        rewrite(&mut sent.as_slice(), &mut received).await.unwrap();

        assert_eq!(received[..PREFACE_BYTES], sent[..PREFACE_BYTES]);
        let mut decoder = Decoder::default();
        let mut rest = &received[PREFACE_BYTES..];
        let mut kinds = Vec::new();
        while !rest.is_empty() {
            let length = usize::from(rest[2]);
            let (frame, after) = rest.split_at(FRAME_HEADER_BYTES + length);
            kinds.push(frame[3]);
            if frame[3] == TYPE_HEADERS {
                let mut fields = Vec::new();
                decoder.decode(&mut frame[FRAME_HEADER_BYTES..].to_vec(), &mut fields).unwrap();
                let fields: Vec<_> =
                    fields.iter().map(|(name, value, _)| (name.as_slice(), value.as_slice())).collect();
                let expected: [(&[u8], &[u8]); 3] =
                    [(b":method", b"POST"), (b":authority", b"localhost"), (b"te", b"trailers")];
                assert_eq!(fields, expected);
            } else {
                assert_eq!(frame, ping);
            }
            rest = after;
        }
        assert_eq!(kinds, [TYPE_HEADERS, 6, TYPE_HEADERS]);
    }
}
