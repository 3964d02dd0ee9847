//! Who sends a request: the other end of the connection, or whom a trusted proxy names.

use crate::limits::{Network, ProxyHeader, Settings};
use axum::http::HeaderMap;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

tokio::task_local! {
    /// The other end of the connection that the running task serves.
    pub static PEER: IpAddr;
}

/// Who is behind a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Client {
    /// Whom it is counted for.
    pub network: Network,
    /// Whether no rate and no quota holds for it.
    pub exempt: bool,
}

impl Client {
    fn of(ip: IpAddr, settings: &Settings) -> Self {
        Self {
            network: ip.into(),
            exempt: ip.to_canonical().is_loopback() && !settings.limit_loopback,
        }
    }

    /// The client of a request from `peer`. What comes by a proxy, which says so in a header or is
    /// known to be one, is nobody's on this machine: where its client is not known, all of its
    /// clients are one.
    pub fn find(peer: IpAddr, headers: &HeaderMap, settings: &Settings) -> Self {
        let proxy = trusted(peer, settings);
        let named = proxy.then(|| last_hop(headers, settings.proxy_header));
        if let Some(client) = named.flatten() {
            return Self::of(client, settings);
        }
        let forwarded = ["x-forwarded-for", "forwarded", "via"];
        let by_proxy = proxy || forwarded.iter().any(|name| headers.contains_key(*name));
        let client = Self::of(peer, settings);
        Self {
            exempt: client.exempt && !by_proxy,
            ..client
        }
    }
}

fn trusted(peer: IpAddr, settings: &Settings) -> bool {
    settings.trusted_proxies.contains(&peer.to_canonical())
}

/// The last entry alone was written by the proxy; what stands before it, anybody may have sent.
fn last_hop(headers: &HeaderMap, which: ProxyHeader) -> Option<IpAddr> {
    let name = match which {
        ProxyHeader::XForwardedFor => "x-forwarded-for",
        ProxyHeader::Forwarded => "forwarded",
    };
    let last = headers.get_all(name).iter().next_back()?.to_str().ok()?;
    let last = last.rsplit(',').next()?.trim();
    let node = match which {
        ProxyHeader::XForwardedFor => last,
        ProxyHeader::Forwarded => last.split(';').find_map(|pair| {
            let (key, value) = pair.trim().split_once('=')?;
            let quoted = value.strip_prefix('"').and_then(|v| v.strip_suffix('"'));
            key.eq_ignore_ascii_case("for")
                .then_some(quoted.unwrap_or(value))
        })?,
    };
    // 192.0.2.1, 192.0.2.1:80, 2001:db8::1, [2001:db8::1] or [2001:db8::1]:80.
    let bare = node.strip_prefix('[').and_then(|n| n.strip_suffix(']'));
    let ip = bare.unwrap_or(node).parse::<IpAddr>();
    ip.or_else(|_| node.parse::<SocketAddr>().map(|a| a.ip()))
        .ok()
}

/// How many connections each address has, so that none has them all.
#[derive(Default)]
pub struct Connections {
    held: Mutex<HashMap<Network, u32>>,
}

/// One of them.
pub struct Counted {
    all: Arc<Connections>,
    network: Network,
}

impl Connections {
    fn lock(&self) -> MutexGuard<'_, HashMap<Network, u32>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a connection from `ip`; `None` where it has as many as it may. Proxies bring
    /// everybody, so they are not counted.
    pub fn count(self: &Arc<Self>, ip: IpAddr, settings: &Settings) -> Option<Counted> {
        let most = settings.address_connections;
        let free = most == 0 || trusted(ip, settings) || Client::of(ip, settings).exempt;
        let network = Network::from(ip);
        let mut held = self.lock();
        let own = held.entry(network).or_default();
        if *own >= most && !free {
            return None;
        }
        *own += 1;
        let all = Arc::clone(self);
        Some(Counted { all, network })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut held = self.all.lock();
        if let Some(own) = held.get_mut(&self.network) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                held.remove(&self.network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use axum::http::{HeaderName, HeaderValue};

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn behind(proxy_header: ProxyHeader) -> Settings {
        Settings {
            trusted_proxies: vec![ip("127.0.0.1")],
            proxy_header,
            ..Settings::default()
        }
    }

    fn network(peer: &str, rows: &[(&str, &str)], settings: &Settings) -> Network {
        let mut headers = HeaderMap::new();
        for (name, value) in rows {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        Client::find(ip(peer), &headers, settings).network
    }

    #[test]
    fn only_a_trusted_proxy_is_believed_and_only_its_own_last_word() {
        let settings = behind(ProxyHeader::XForwardedFor);
        let of = |peer, rows: &[_]| network(peer, rows, &settings);
        let want = Network::from(ip("192.0.2.7"));
        for value in [
            "192.0.2.7",
            "10.0.0.1, 192.0.2.7",
            "x,192.0.2.7:443",
            "::ffff:192.0.2.7",
        ] {
            assert_eq!(
                of("127.0.0.1", &[("x-forwarded-for", value)]),
                want,
                "{value}"
            );
        }
        let two = [
            ("x-forwarded-for", "10.0.0.1"),
            ("x-forwarded-for", "192.0.2.7"),
        ];
        assert_eq!(of("127.0.0.1", &two), want);
        let v6 = Network::from(ip("2001:db8::9"));
        for value in ["2001:db8::1", "[2001:db8::1]", "[2001:db8::1]:80"] {
            assert_eq!(of("127.0.0.1", &[("x-forwarded-for", value)]), v6);
        }
        // A stranger's word, the other header, and no address: the connection's other end.
        let (proxy, stranger) = (ip("127.0.0.1").into(), ip("198.51.100.1").into());
        assert_eq!(of("198.51.100.1", &two), stranger);
        assert_eq!(of("127.0.0.1", &[("forwarded", "for=192.0.2.7")]), proxy);
        assert_eq!(of("127.0.0.1", &[("x-forwarded-for", "unknown")]), proxy);
        assert_eq!(of("127.0.0.1", &[]), proxy);
    }

    #[test]
    fn only_who_comes_from_this_machine_by_no_proxy_is_exempt() {
        let exempt = |peer: &str, rows: &[(&'static str, &str)], settings: &Settings| {
            let mut headers = HeaderMap::new();
            for (name, value) in rows {
                headers.append(*name, HeaderValue::from_str(value).unwrap());
            }
            Client::find(ip(peer), &headers, settings).exempt
        };
        let (plain, proxied) = (Settings::default(), behind(ProxyHeader::XForwardedFor));
        assert!(exempt("127.0.0.1", &[], &plain));
        assert!(exempt("::1", &[("user-agent", "curl")], &plain));
        assert!(!exempt("192.0.2.1", &[], &plain));
        // A proxy on this machine of which the operator has said nothing.
        for header in [
            ("x-forwarded-for", "192.0.2.1"),
            ("forwarded", "for=_x"),
            ("via", "1.1 p"),
        ] {
            assert!(!exempt("127.0.0.1", &[header], &plain), "{header:?}");
        }
        // One that is known, and does not say for whom.
        assert!(!exempt("127.0.0.1", &[], &proxied));
        assert!(exempt("127.0.0.1", &[("x-forwarded-for", "::1")], &proxied));
        let limited = Settings {
            limit_loopback: true,
            ..plain
        };
        assert!(!exempt("127.0.0.1", &[], &limited));
    }

    #[test]
    fn forwarded_is_read_as_rfc_7239_writes_it() {
        let settings = behind(ProxyHeader::Forwarded);
        for value in [
            "for=192.0.2.7",
            "for=10.0.0.1, proto=https;For=\"192.0.2.7:80\";by=10.0.0.1",
        ] {
            assert_eq!(
                network("127.0.0.1", &[("forwarded", value)], &settings),
                Network::from(ip("192.0.2.7"))
            );
        }
        let v6 = network(
            "127.0.0.1",
            &[("forwarded", "for=\"[2001:db8::1]:80\"")],
            &settings,
        );
        assert_eq!(v6, Network::from(ip("2001:db8::2")));
    }

    #[test]
    fn connections_are_counted_by_address_and_given_back() {
        let all = Arc::new(Connections::default());
        let settings = Settings {
            address_connections: 2,
            ..behind(ProxyHeader::XForwardedFor)
        };
        let count = |t| all.count(ip(t), &settings);
        let held = [count("192.0.2.1"), count("192.0.2.1")];
        assert!(held.iter().all(Option::is_some) && count("192.0.2.1").is_none());
        assert!(count("192.0.2.2").is_some());
        let many: Vec<_> = (0..9).map_while(|_| count("127.0.0.2")).collect();
        assert_eq!(many.len(), 9, "loopback is exempt");
        drop((held, many));
        assert!(all.lock().is_empty());
    }
}
