//! Reading a metric of a process that serves some.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
};

/// The value of the metric that is shown as `name`, with its labels if it has any; nothing, if there is none.
pub fn read(address: SocketAddr, name: &str) -> anyhow::Result<Option<f64>> {
    let text = fetch(address)?;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    Ok(value.map(str::parse).transpose()?)
}

/// All series of the metric of this name, by their labels as they are shown.
pub fn all(address: SocketAddr, name: &str) -> anyhow::Result<Vec<(String, f64)>> {
    let text = fetch(address)?;
    let series = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('{')?.rsplit_once("} "));
    series.map(|(labels, value)| Ok((labels.to_owned(), value.parse()?))).collect()
}

fn fetch(address: SocketAddr) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    write!(stream, "GET /metrics HTTP/1.0\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}
