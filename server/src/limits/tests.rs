#![allow(clippy::unwrap_used)]

use super::*;

const SECOND: u64 = 1_000_000_000;

#[test]
fn a_rate_is_read_as_the_operator_writes_it() {
    assert_eq!("600/min".parse(), Ok(Rate::new(600, 60, 600)));
    assert_eq!("50/s:200".parse(), Ok(Rate::new(50, 1, 200)));
    assert_eq!("1/h:3".parse(), Ok(Rate::new(1, 3600, 3)));
    assert_eq!("0".parse(), Ok(Rate::OFF));
    assert_eq!("0/s".parse(), Ok(Rate::OFF));
    for bad in ["", "5", "5/day", "-1/s", "5/s:", "x/s", "5/s:x", "5/s:1:1"] {
        assert!(bad.parse::<Rate>().is_err(), "{bad}");
    }
}

#[test]
fn a_bucket_gives_its_burst_then_its_rate_and_says_when() {
    let buckets = Buckets::new(Rate::new(2, 1, 3), 16);
    for _ in 0..3 {
        buckets.at(1, 0, true).unwrap();
    }
    assert_eq!(buckets.at(1, 0, true), Err(Duration::from_millis(500)));
    // Asking costs nothing, and others are not concerned.
    assert_eq!(buckets.at(1, 0, false), Err(Duration::from_millis(500)));
    buckets.at(2, 0, true).unwrap();
    buckets.at(1, SECOND / 2, true).unwrap();
    assert!(buckets.at(1, SECOND / 2, true).is_err());
    for _ in 0..3 {
        buckets.at(1, 10 * SECOND, true).unwrap();
    }
    assert!(buckets.at(1, 10 * SECOND, true).is_err());
}

#[test]
fn a_million_addresses_take_bounded_memory_and_who_keeps_coming_is_not_forgotten() {
    let buckets = Buckets::new(Rate::new(1, 3600, 2), 1000);
    buckets.at(u32::MAX, 0, true).unwrap();
    buckets.at(u32::MAX, 0, true).unwrap();
    for i in 0..400 {
        buckets.at(i, 0, true).unwrap();
    }
    assert!(buckets.at(u32::MAX, 0, true).is_err());
    for i in 0..1_000_000 {
        let _ = buckets.at(i, 0, true);
        assert!(i % 10_000 != 0 || buckets.len() <= 1000);
    }
    assert!(buckets.len() <= 1000);
}

#[test]
fn no_rate_keeps_no_table() {
    let buckets = Buckets::new(Rate::OFF, 1000);
    for i in 0..100 {
        buckets.spend(i).unwrap();
    }
    assert!(buckets.is_empty());
}

#[test]
fn one_project_gets_half_two_get_a_third_each_and_places_come_back() {
    let places = Places::new(12, true);
    let fill =
        |p: u8| -> Vec<Arc<Place>> { std::iter::from_fn(|| places.take([p; 32]).ok()).collect() };
    let one = fill(1);
    assert_eq!(one.len(), 6);
    assert_eq!(places.look(&[1; 32]), Err(Full::Share));
    let two = fill(2);
    assert_eq!(two.len(), 3);
    let copy = Arc::clone(two.first().unwrap());
    drop(two);
    assert_eq!(places.taken(), 7);
    drop((one, copy));
    assert_eq!(places.taken(), 0);
    assert!(lock(&places.held).by.is_empty());
    let unfair = Places::new(12, false);
    let all: Vec<_> = std::iter::from_fn(|| unfair.take([1; 32]).ok()).collect();
    assert_eq!((all.len(), unfair.look(&[2; 32])), (12, Err(Full::All)));
}

#[test]
fn an_ipv6_host_is_its_64_and_a_mapped_address_is_its_ipv4() {
    let network = |t: &str| Network::from(t.parse::<IpAddr>().unwrap());
    assert_eq!(network("2001:db8::1"), network("2001:db8::ffff:1"));
    assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
    assert_eq!(network("::ffff:192.0.2.1"), network("192.0.2.1"));
    assert_ne!(network("192.0.2.1"), network("192.0.2.2"));
}
