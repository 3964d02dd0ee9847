//! The options of every program here that listens: how much may come from one address.

use crate::limits::{ProxyHeader, Rate, Settings};
use clap::{Args, ValueEnum};
use std::net::IpAddr;
use std::time::Duration;

#[derive(Clone, Copy, ValueEnum)]
enum Header {
    /// X-Forwarded-For
    XForwardedFor,
    /// Forwarded (RFC 7239)
    Forwarded,
}

/// How much may come from one address, and how long it may take.
#[derive(Args)]
#[command(next_help_heading = "Limits")]
pub struct AddressArgs {
    /// Submissions from one IPv4 address or IPv6 /64; 0 is no limit.
    #[arg(long, default_value = "50/s:200", value_name = "RATE")]
    address_rate: Rate,
    /// Connections at once from one IPv4 address or IPv6 /64; 0 is no limit.
    #[arg(long, default_value_t = 256, value_name = "N")]
    address_connections: u32,
    /// Let these limits hold for loopback addresses too.
    #[arg(long)]
    limit_loopback: bool,
    /// A proxy that says who its clients are; may be given more than once.
    #[arg(long, value_name = "ADDR")]
    trusted_proxy: Vec<IpAddr>,
    /// The header in which it says so.
    #[arg(long, value_enum, default_value = "x-forwarded-for")]
    proxy_header: Header,
    /// Longest wait for a request's head, in seconds.
    #[arg(long, default_value_t = 30, value_name = "S", value_parser = clap::value_parser!(u32).range(1..=3600))]
    head_seconds: u32,
    /// Longest that a request may take, in seconds.
    #[arg(long, default_value_t = 30, value_name = "S", value_parser = clap::value_parser!(u32).range(1..=3600))]
    request_seconds: u32,
    /// Longest that a client may read nothing of an answer, in seconds.
    #[arg(long, default_value_t = 30, value_name = "S", value_parser = clap::value_parser!(u32).range(1..=3600))]
    stall_seconds: u32,
    /// Seconds after which a connection takes no further request.
    #[arg(long, default_value_t = 300, value_name = "S", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    connection_seconds: u32,
}

impl From<AddressArgs> for Settings {
    fn from(args: AddressArgs) -> Self {
        let seconds = |s: u32| Duration::from_secs(u64::from(s));
        let proxies = args.trusted_proxy.iter().map(IpAddr::to_canonical);
        Self {
            address_rate: args.address_rate,
            address_connections: args.address_connections,
            limit_loopback: args.limit_loopback,
            trusted_proxies: proxies.collect(),
            proxy_header: match args.proxy_header {
                Header::XForwardedFor => ProxyHeader::XForwardedFor,
                Header::Forwarded => ProxyHeader::Forwarded,
            },
            head: seconds(args.head_seconds),
            request: seconds(args.request_seconds),
            stall: seconds(args.stall_seconds),
            life: seconds(args.connection_seconds),
            ..Self::default()
        }
    }
}
