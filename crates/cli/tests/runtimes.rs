//! Processes with several CPythons: all are named, and one is chosen.

mod support;

use serde_json::{Value, json};
use support::{Run, exec, invivo};
use synth::pair::{NAMES, Pair, pairs, start};
use synth::{Launch, Target, interpreter};

fn run(command: &str, target: &Target, words: &[&str]) -> Run {
    let pid = target.pid().to_string();
    invivo([command, &pid].into_iter().chain(words.iter().copied()))
}

/// The number of each of the two, by the files that hold them.
fn numbers(pair: Pair, runtimes: &Value) -> [String; 2] {
    assert_eq!(runtimes.as_array().map(Vec::len), Some(2), "{runtimes}");
    pair.map(|interpreter| {
        let library = interpreter.library.as_ref().expect("a library");
        let name = library.file_name().expect("its name").to_string_lossy();
        let mut list = runtimes.as_array().into_iter().flatten();
        let own = list.find(|one| one["where"].as_str().is_some_and(|it| it.ends_with(&*name)));
        own.unwrap_or_else(|| panic!("no {name} in {runtimes}"))["number"].to_string()
    })
}

/// The functions of all frames in a dump.
fn functions(dump: &Value) -> Vec<&str> {
    let threads = dump["interpreters"][0]["threads"].as_array();
    let frames = threads
        .into_iter()
        .flatten()
        .flat_map(|it| it["frames"].as_array());
    frames
        .flatten()
        .filter_map(|frame| frame["function"].as_str())
        .collect()
}

#[test]
fn all_are_named_and_looking_takes_the_first() {
    for pair in pairs() {
        let target = start(pair);
        let doctor = run("doctor", &target, &["--json"]).expect(2).json();
        numbers(pair, &doctor["runtimes"]);
        assert_eq!(doctor["execution"]["error"]["kind"], "Usage");
        let first = &doctor["runtimes"][0];
        assert_eq!(doctor["interpreter"]["runtime"], first["runtime"]);

        for command in ["dump", "tasks"] {
            let looked = run(command, &target, &["--json"]).expect(0);
            let report = looked.json();
            assert_eq!(report["runtimes"], doctor["runtimes"]);
            assert_eq!(report["runtime"], first["runtime"]);
            for told in ["2 CPythons", "only number 1", "not number 2", "--runtime"] {
                assert!(looked.stderr.contains(told), "{told}: {looked:#?}");
            }
        }
        let text = run("dump", &target, &[]).expect(0).stdout;
        assert!(text.contains("(number 1 of 2)"), "{text}");
        assert!(!text.contains("without Python"), "{text}");

        let list = invivo(["ps", "--json"]).expect(0).json();
        let mut processes = list["processes"].as_array().into_iter().flatten();
        let own = processes.find(|one| one["pid"] == target.pid());
        let own = own.expect("the process in the list");
        assert_eq!(own["interpreter"]["where"], first["where"]);
        let second = &doctor["runtimes"][1]["where"];
        assert_eq!(own["other_interpreters"].as_array().map(Vec::len), Some(1));
        assert_eq!(&own["other_interpreters"][0]["where"], second);
        assert!(target.is_running());
    }
}

#[test]
fn each_can_be_chosen() {
    for pair in pairs() {
        let target = start(pair);
        let doctor = run("doctor", &target, &["--json"]).json();
        let numbers = numbers(pair, &doctor["runtimes"]);
        for ((number, name), interpreter) in numbers.iter().zip(NAMES).zip(pair) {
            let chosen = ["--json", "--runtime", number.as_str()];
            let dump = run("dump", &target, &chosen).expect(0);
            assert_eq!(dump.stderr, "");
            assert!(functions(&dump.json()).contains(&name), "{dump:#?}");
            let tasks = run("tasks", &target, &chosen).expect(0);
            assert_eq!(tasks.stderr, "");
            run("doctor", &target, &chosen).expect(0);

            let script = "(who, *__import__('sys').version_info[:2])";
            let words = ["--namespace", "main", "-e", script];
            let ran = exec(&target, &[&chosen[..], &words].concat())
                .expect(0)
                .json();
            assert_eq!(ran["value"]["json"], json!([name, 3, interpreter.minor()]));
        }
        assert!(target.is_running());
    }
}

#[test]
fn either_is_sampled() {
    for pair in pairs() {
        let target = start(pair);
        let doctor = run("doctor", &target, &["--json"]).json();
        let numbers = numbers(pair, &doctor["runtimes"]);
        let record = ["-d", "0.2", "-r", "200", "-f", "collapsed", "-o", "-"];
        let top = ["--once", "-d", "0.3", "--mode", "wall"];
        let seen = |words: &[&str]| {
            let stacks = run("record", &target, &[&record[..], words].concat()).expect(0);
            let shown = run("top", &target, &[&top[..], words].concat()).expect(0);
            let told = format!("{}{}", stacks.stderr, shown.stderr);
            // The first line is the command, which names the scripts of both.
            let (_, shown) = shown.stdout.split_once('\n').expect("a line");
            (stacks.stdout, shown.to_owned(), told)
        };
        for (index, number) in numbers.iter().enumerate() {
            let (stacks, shown, told) = seen(&["--runtime", number]);
            for text in [stacks, shown] {
                assert!(text.contains(NAMES[index]), "{text}");
                assert!(!text.contains(NAMES[1 - index]), "{text}");
            }
            assert!(!told.contains("CPythons"), "{told}");
        }
        assert!(target.is_running());
    }
}

#[test]
fn sampling_takes_the_first_and_says_so() {
    let target = start(pairs()[0]);
    for words in [
        &["record", "-d", "0.2", "-f", "table"][..],
        &["top", "--once", "-d", "0.3"],
    ] {
        let told = run(words[0], &target, &words[1..]).expect(0).stderr;
        let sentence = "has 2 CPythons, and only number 1";
        assert!(told.contains(sentence), "{told}");
    }
}

#[test]
fn what_is_kept_and_what_is_asked_of_a_thread_know_of_the_others() {
    let target = start(pairs()[0]);
    let place = tempfile::tempdir().expect("a directory");
    let image = place.path().join("image");
    let image = image.to_str().expect("its path");
    let live = run("dump", &target, &["--json", "--save-image", image])
        .expect(0)
        .json();
    let kept = invivo(["dump", "--json", "--image", image])
        .expect(0)
        .json();
    assert_eq!(kept["runtimes"], live["runtimes"]);
    let text = invivo(["dump", "--image", image]).expect(0).stdout;
    assert!(text.contains("not of this CPython"), "{text}");

    let other = run("dump", &target, &["--json", "--runtime", "2"])
        .expect(0)
        .json();
    let tid = other["interpreters"][0]["threads"][0]["tid"].to_string();
    for command in ["dump", "tasks"] {
        let words = ["--runtime", "1", "--thread", &tid];
        run(command, &target, &words).refused(2, "no thread of CPython number 1", "threads are");
    }
}

#[test]
fn nothing_is_run_in_one_that_nobody_named() {
    let pair = pairs()[0];
    let target = start(pair);
    for words in [&["-e", "1"][..], &["--dry-run", "-e", "1"]] {
        exec(&target, words).refused(2, "2 CPythons", "in which one");
    }
    for command in ["dump", "tasks", "doctor", "record", "top"] {
        let run = run(command, &target, &["--runtime", "3"]);
        run.refused(2, "no CPython number 3", "number 2, CPython");
    }
    for command in ["record", "top"] {
        let run = invivo([command, "--runtime", "1", "--", "true"]).expect(2);
        assert!(run.stderr.contains("cannot be used with"), "{run:#?}");
    }
    exec(&target, &["--runtime", "3", "-e", "1"]).refused(2, "no CPython number 3", "number 1");
}

#[test]
fn one_that_is_only_mapped_is_none() {
    let [other, own] = pairs()[0];
    let library = other.library.as_ref().expect("a library").display();
    let program = format!(
        "import ctypes, time\nlibrary = ctypes.CDLL('{library}')\nprint('ready', flush=True)\n\
         while True: time.sleep(0.02)\n"
    );
    let target = Launch::new(interpreter(&own.name), program).start();
    let doctor = run("doctor", &target, &["--json"]).expect(0).json();
    assert_eq!(doctor["runtimes"].as_array().map(Vec::len), Some(1));
    let dump = run("dump", &target, &[]).expect(0);
    assert_eq!(dump.stderr, "");
    exec(&target, &["--runtime", "1", "-e", "1"]).expect(0);
}
