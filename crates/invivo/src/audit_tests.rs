use std::fs;

use invivo_process::Target;

use super::*;

fn request(source: &str) -> Request {
    Request::new(Code::Execute {
        source: source.into(),
        name: "<\u{9b}31m>".into(),
    })
}

fn lines(path: &Path) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(path).expect("the log");
    assert!(text.ends_with('\n'));
    let lines = text.lines().map(serde_json::from_str);
    lines.map(|line| line.expect("a line of JSON")).collect()
}

#[test]
fn an_act_has_a_beginning_and_an_end() {
    let place = tempfile::tempdir().expect("a directory");
    let path = place.path().join("log");
    let log = Log::open(&path).expect("opening it");
    let ourselves = Target::open(std::process::id()).expect("our own process");
    let request = request("abc");
    let mut act = log
        .begin(ourselves.pid(), Some(2), Some(&ourselves), &request)
        .expect("its beginning");
    let [begin] = &lines(&path)[..] else {
        panic!("not one line")
    };
    assert_eq!(begin["event"], "begin");
    assert!(begin.get("runs").is_none());
    let failed = Err(Error::gone(7));
    act.ran(
        request.selection,
        &Course::default(),
        &failed,
        Duration::from_millis(5),
    );
    act.end(7, None).expect("its end");
    let [begin, end] = &lines(&path)[..] else {
        panic!("not two lines")
    };
    assert_eq!(end["event"], "end");
    for same in ["schema", "id", "invivo", "by", "target", "script"] {
        assert_eq!(begin[same], end[same], "{same}");
        assert!(!end[same].is_null(), "{same}");
    }
    // What FIPS 180 says of these three letters.
    let sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(end["script"]["sha256"], sha256);
    assert_eq!(end["script"]["bytes"], 3);
    assert_eq!(end["target"]["start_ticks"], ourselves.start_time());
    assert_eq!(end["selection"]["runtime"], 2);
    assert_eq!(end["by"]["uid"], own_uid());
    assert_eq!(end["runs"][0]["outcome"], "failed");
    assert_eq!(end["runs"][0]["error"]["kind"], "Gone");
    assert_eq!(end["runs"][0]["interpreter"], 0);
    assert_eq!(end["exit_code"], 7);
}

#[test]
fn a_line_is_plain_text_and_says_the_same() {
    let place = tempfile::tempdir().expect("a directory");
    let path = place.path().join("log");
    let log = Log::open(&path).expect("opening it");
    let act = log
        .begin(1, None, None, &request("ä"))
        .expect("its beginning");
    act.end(0, Some(&Error::gone(1))).expect("its end");
    let bytes = fs::read(&path).expect("the log");
    assert!(bytes.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\n')));
    let lines = lines(&path);
    assert_eq!(lines[1]["script"]["name"], "<\u{9b}31m>");
    assert_eq!(lines[1]["script"]["bytes"], 2);
    assert_eq!(lines[1]["error"]["kind"], "Gone");
    assert!(lines[1]["target"]["exe"].is_null());
    assert_eq!(plain("\"\u{1f40d}\u{7f}\""), r#""\ud83d\udc0d\u007f""#);
}

#[test]
fn many_at_once_do_not_mingle() {
    const EACH: usize = 50;
    const WRITERS: usize = 8;
    let place = tempfile::tempdir().expect("a directory");
    let path = place.path().join("log");
    // Longer than a page, and than what a pipe takes at once.
    let name = "n".repeat(100_000);
    std::thread::scope(|scope| {
        for _ in 0..WRITERS {
            scope.spawn(|| {
                let log = Log::open(&path).expect("opening it");
                let code = Code::Execute {
                    source: String::new(),
                    name: name.clone(),
                };
                for _ in 0..EACH {
                    let act = log.begin(1, None, None, &Request::new(code.clone()));
                    act.expect("its beginning").end(0, None).expect("its end");
                }
            });
        }
    });
    let lines = lines(&path);
    assert_eq!(lines.len(), 2 * EACH * WRITERS);
    for begin in lines.iter().filter(|line| line["event"] == "begin") {
        let of_it = |line: &&serde_json::Value| line["id"] == begin["id"];
        assert_eq!(lines.iter().filter(of_it).count(), 2);
        assert_eq!(begin["script"]["name"], name.as_str());
    }
}

#[test]
fn days_are_those_of_the_calendar() {
    let at = |seconds, milliseconds: u32| {
        timestamp(UNIX_EPOCH + Duration::new(seconds, milliseconds * 1_000_000))
    };
    assert_eq!(at(0, 0), "1970-01-01T00:00:00.000Z");
    assert_eq!(at(951_782_399, 999), "2000-02-28T23:59:59.999Z");
    assert_eq!(at(951_782_400, 0), "2000-02-29T00:00:00.000Z");
    assert_eq!(at(1_709_251_199, 1), "2024-02-29T23:59:59.001Z");
    assert_eq!(at(1_709_251_200, 0), "2024-03-01T00:00:00.000Z");
    assert_eq!(at(4_102_444_799, 0), "2099-12-31T23:59:59.000Z");
    assert_eq!(at(4_107_542_400, 0), "2100-03-01T00:00:00.000Z");
}
