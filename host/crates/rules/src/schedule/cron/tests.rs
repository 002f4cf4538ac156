use super::*;

/// The next `count` times after `after`, as the clock of the zone shows them.
fn times(cron: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
    let cron: Cron = cron.parse().unwrap();
    let zone = TimeZone::get(zone).unwrap();
    let mut at: Timestamp = after.parse().unwrap();
    let mut times = Vec::new();
    for _ in 0..count {
        let next = cron.next(at, &zone).unwrap();
        assert!(next > at);
        at = next;
        times.push(at.to_zoned(zone.clone()).strftime("%F %T%:z").to_string());
    }
    times
}

#[test]
fn each_field_names_what_it_says() {
    for (cron, expected) in [
        ("30 4 * * *", "2026-01-01 04:30:00+00:00"),
        ("5 30 4 * * *", "2026-01-01 04:30:05+00:00"),
        ("*/20 * * * * *", "2026-01-01 00:00:20+00:00"),
        ("0 0 29 2 *", "2028-02-29 00:00:00+00:00"),
        ("0 12 * * MON-FRI", "2026-01-01 12:00:00+00:00"),
        ("0 12 * * 7", "2026-01-04 12:00:00+00:00"),
        ("0 12 * * sun", "2026-01-04 12:00:00+00:00"),
        ("0 12 * feb,MAR *", "2026-02-01 12:00:00+00:00"),
        // Either of both days, where both are named.
        ("0 0 13 * FRI", "2026-01-02 00:00:00+00:00"),
        ("0 0 */2 * FRI", "2026-01-09 00:00:00+00:00"),
        ("7-59/10 22 * * *", "2026-01-01 22:07:00+00:00"),
        ("3/30 * * * *", "2026-01-01 00:03:00+00:00"),
        ("@monthly", "2026-02-01 00:00:00+00:00"),
        ("@hourly", "2026-01-01 01:00:00+00:00"),
    ] {
        assert_eq!(
            times(cron, "UTC", "2026-01-01T00:00:00Z", 1),
            [expected],
            "{cron}"
        );
    }
}

#[test]
fn what_is_no_expression_is_refused() {
    for cron in [
        "",
        "* * * *",
        "* * * * * * *",
        "60 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * * 13 *",
        "* * * * 8",
        "*/0 * * * *",
        "5-1 * * * *",
        "a * * * *",
        "1,,2 * * * *",
        "+1 * * * *",
        "-1 * * * *",
        "1-2-3 * * * *",
        "@reboot",
    ] {
        assert!(cron.parse::<Cron>().is_err(), "{cron}");
    }
    let never: Cron = "0 0 30 2 *".parse().unwrap();
    assert_eq!(never.next(Timestamp::UNIX_EPOCH, &TimeZone::UTC), None);
}

#[test]
fn a_time_that_a_clock_leaves_out_comes_when_it_is_put_forward() {
    for (zone, after, expected) in [
        (
            "Europe/Berlin",
            "2026-03-28T12:00:00Z",
            ["2026-03-29 03:00:00+02:00", "2026-03-30 02:30:00+02:00"],
        ),
        (
            "America/New_York",
            "2026-03-07T12:00:00Z",
            ["2026-03-08 03:00:00-04:00", "2026-03-09 02:30:00-04:00"],
        ),
    ] {
        assert_eq!(times("30 2 * * *", zone, after, 2), expected, "{zone}");
        // However many of them are left out, there is one instead.
        let several = times("*/10 2 * * *", zone, after, 2);
        assert_eq!(several[0], expected[0], "{zone}");
        assert!(several[1].contains(" 02:00:00"), "{zone}: {several:?}");
    }
    // By half an hour, from 2:00 to 2:30.
    let lord_howe = times(
        "15 2 * * *",
        "Australia/Lord_Howe",
        "2026-10-03T00:00:00Z",
        2,
    );
    assert_eq!(
        lord_howe,
        ["2026-10-04 02:30:00+11:00", "2026-10-05 02:15:00+11:00"]
    );
}

#[test]
fn a_time_that_comes_twice_counts_once() {
    for (zone, after, cron, expected) in [
        (
            "Europe/Berlin",
            "2026-10-24T12:00:00Z",
            "30 2 * * *",
            ["2026-10-25 02:30:00+02:00", "2026-10-26 02:30:00+01:00"],
        ),
        (
            "America/New_York",
            "2026-10-31T12:00:00Z",
            "30 1 * * *",
            ["2026-11-01 01:30:00-04:00", "2026-11-02 01:30:00-05:00"],
        ),
        (
            "Australia/Lord_Howe",
            "2026-04-04T00:00:00Z",
            "45 1 * * *",
            ["2026-04-05 01:45:00+11:00", "2026-04-06 01:45:00+10:30"],
        ),
    ] {
        assert_eq!(times(cron, zone, after, 2), expected, "{zone}");
    }
    // Also where it is asked for between the two.
    let between = times("30 2 * * *", "Europe/Berlin", "2026-10-25T01:15:00Z", 1);
    assert_eq!(between, ["2026-10-26 02:30:00+01:00"]);
}

#[test]
fn a_pace_goes_on_evenly_whatever_a_clock_shows() {
    let forward = times("*/30 * * * *", "Europe/Berlin", "2026-03-29T00:15:00Z", 3);
    assert_eq!(
        forward,
        [
            "2026-03-29 01:30:00+01:00",
            "2026-03-29 03:00:00+02:00",
            "2026-03-29 03:30:00+02:00"
        ]
    );
    let back = times("0 * * * *", "America/New_York", "2026-11-01T04:30:00Z", 3);
    assert_eq!(
        back,
        [
            "2026-11-01 01:00:00-04:00",
            "2026-11-01 01:00:00-05:00",
            "2026-11-01 02:00:00-05:00"
        ]
    );
    let half = times(
        "*/15 * * * *",
        "Australia/Lord_Howe",
        "2026-04-04T14:50:00Z",
        3,
    );
    assert_eq!(
        half,
        [
            "2026-04-05 01:30:00+10:30",
            "2026-04-05 01:45:00+10:30",
            "2026-04-05 02:00:00+10:30"
        ]
    );
}
