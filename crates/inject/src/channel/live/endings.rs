//! How scripts end: exceptions of every kind, exits, refusals.

use super::*;

fn raised(target: &Target, source: &str) -> RemoteException {
    execute(target, source).exception()
}

fn rendered(exception: &RemoteException, source: &str) -> String {
    let mut line_of = |file: &str, number| {
        let index = usize::try_from(number).ok()?.checked_sub(1)?;
        let line = source.lines().nth(index).filter(|_| file == "<invivo>");
        line.map(str::to_owned)
    };
    exception.render(&mut line_of)
}

/// The text without the lines that only some versions can give.
fn unmarked(text: &str) -> String {
    let marks = |line: &&str| !line.trim().is_empty() && line.trim().chars().all(|c| c == '^');
    text.split_inclusive('\n')
        .filter(|line| !marks(line))
        .collect()
}

#[test]
fn an_exception_comes_with_its_frames() {
    let source = "def f(x):\n    return 1 / x\n\nf(0)\n";
    everywhere(|interpreter, target| {
        let exception = raised(target, source);
        assert_eq!(
            (exception.kind.as_str(), exception.text.as_str()),
            ("ZeroDivisionError", "division by zero")
        );
        let names: Vec<_> = exception
            .frames
            .iter()
            .map(|frame| (frame.name.as_str(), frame.line))
            .collect();
        assert_eq!(names, [("<module>", Some(4)), ("f", Some(2))]);
        let text = rendered(&exception, source);
        let expected = "Traceback (most recent call last):\n  File \"<invivo>\", line 4, in <module>\n    \
                        f(0)\n  File \"<invivo>\", line 2, in f\n    return 1 / x\nZeroDivisionError: division by zero\n";
        assert_eq!(unmarked(&text), expected);
        let knows_columns = ask(target, "hasattr((lambda: 0).__code__, 'co_positions')") == "True";
        assert_eq!(
            text.contains("\n           ^^^^^\n"),
            knows_columns,
            "{}: {text}",
            interpreter.name
        );
        assert_silent(target);
    });
}

#[test]
fn chains_are_told_and_what_the_target_handles_is_not() {
    let source = "try:\n    try: {}['k']\n    except KeyError as e: raise ValueError('v') from e\nexcept ValueError: raise TypeError('t')\n";
    everywhere(|_, target| {
        let in_handler = |statement: &str| {
            format!("try: raise RuntimeError('of the target')\nexcept RuntimeError: {statement}")
        };
        let exception = perform_by(target, &payload(false, source), in_handler).exception();
        let text = rendered(&exception, source);
        let order = [
            "KeyError: 'k'",
            "direct cause",
            "ValueError: v",
            "During handling",
            "TypeError: t",
        ];
        let places: Vec<_> = order
            .iter()
            .map(|part| text.find(part).expect(part))
            .collect();
        assert!(places.is_sorted(), "{text}");
        assert!(!text.contains("of the target"), "{text}");
        let quiet = raised(
            target,
            "try: 1/0\nexcept ZeroDivisionError: raise OSError(2, 'no') from None",
        );
        assert!(quiet.suppress_context && quiet.context.is_some());
        assert_eq!(
            (quiet.kind.as_str(), quiet.text.as_str()),
            ("FileNotFoundError", "[Errno 2] no")
        );
        let circle = raised(
            target,
            "a = ValueError('a'); b = ValueError('b'); a.__cause__ = b; b.__cause__ = a\nraise a",
        );
        let other = circle.cause.expect("its cause");
        assert_eq!((other.text.as_str(), &other.cause), ("b", &None));
    });
}

#[test]
fn groups_and_notes_are_told() {
    let source = "e = ExceptionGroup('g', [ValueError(1), ExceptionGroup('h', [TypeError('t')])])\ne.add_note('a note')\nraise e\n";
    let mut with_groups = 0;
    everywhere(|_, target| {
        let exception = raised(target, source);
        if ask(target, "'ExceptionGroup' in dir(__builtins__)") != "True" {
            assert_eq!(exception.kind, "NameError");
            return;
        }
        let members = exception.members.as_deref().expect("members");
        assert_eq!(members.len(), 2);
        let expected = "  + Exception Group Traceback (most recent call last):\n  |   File \"<invivo>\", line 3, in <module>\n  |     raise e\n  | ExceptionGroup: g (2 sub-exceptions)\n  | a note\n  +-+---------------- 1 ----------------\n    | ValueError: 1\n    +---------------- 2 ----------------\n    | ExceptionGroup: h (1 sub-exception)\n    +-+---------------- 1 ----------------\n      | TypeError: t\n      +------------------------------------\n";
        assert_eq!(rendered(&exception, source), expected);
    });
    for interpreter in interpreters() {
        with_groups += usize::from(!["3.8", "3.9", "3.10"].contains(&interpreter.name.as_str()));
    }
    assert!(with_groups > 0, "at least one interpreter knows groups");
}

#[test]
fn errors_of_syntax_have_their_place() {
    everywhere(|_, target| {
        let exception = raised(target, "x = 1\nx +* 2\n");
        assert_eq!(exception.frames, []);
        let details = exception.syntax.as_ref().expect("details");
        assert_eq!((details.line, details.column), (Some(2), Some(4)));
        let text = rendered(&exception, "");
        let expected =
            "  File \"<invivo>\", line 2\n    x +* 2\n       ^\nSyntaxError: invalid syntax\n";
        assert_eq!(text, expected);
        let nul = perform(target, &payload(true, "'\0'")).exception();
        assert!(
            ["ValueError", "SyntaxError"].contains(&nul.kind.as_str()),
            "{}",
            nul.kind
        );
    });
}

#[test]
fn an_exit_ends_the_script_only() {
    everywhere(|_, target| {
        for (source, success, code) in [
            ("import sys; sys.exit()", true, None),
            ("raise SystemExit(0)", true, Some("0")),
            ("raise SystemExit(3)", false, Some("3")),
            ("exit('why')", false, Some("why")),
            ("raise SystemExit(False)", true, Some("False")),
        ] {
            let source = source.replace("exit('why')", "raise SystemExit('why')");
            let exit = Exit {
                success,
                code: code.map(str::to_owned),
            };
            assert_eq!(execute(target, &source).ending, Ok(Ending::Exited(exit)));
        }
        assert_silent(target);
    });
}

#[test]
fn hostile_exceptions_are_survived() {
    let source = "class E(Exception):\n    def __str__(self): raise SystemExit(1)\n    \
                  __notes__ = property(lambda self: 1/0)\n    exceptions = (1, 2)\n\
                  E.__module__ = 5\nraise E\n";
    everywhere(|_, target| {
        let exception = raised(target, source);
        assert_eq!(exception.text, "<exception str() failed>");
        assert_eq!((exception.kind.as_str(), exception.members), ("?.E", None));
        let told = perform(
            target,
            &payload(true, "type('R', (), {'__repr__': lambda s: 1/0})()"),
        );
        assert_eq!(told.exception().kind, "ZeroDivisionError");
        assert_eq!(
            raised(target, "raise KeyboardInterrupt").kind,
            "KeyboardInterrupt"
        );
        assert_eq!(raised(target, "raise GeneratorExit").kind, "GeneratorExit");
        let deep = raised(target, "def f(): f()\nf()");
        assert_eq!(deep.kind, "RecursionError");
        let times: u64 = deep.frames.iter().map(|frame| frame.times).sum();
        assert!(
            times > 100 && deep.frames.len() < 10,
            "{} frames",
            deep.frames.len()
        );
        assert!(rendered(&deep, "def f(): f()\nf()").contains("  [Previous line repeated "));
        let zigzag = "def f(n):\n  if n % 3: return f(n + 1)\n  return f(n + 1)\nf(0)";
        let zigzag = raised(target, zigzag);
        assert!(zigzag.frames_left_out > 0 && zigzag.frames.len() <= 200);
        let long = raised(target, "raise ValueError('x' * 10_000_000)");
        assert!((60_000..=70_000).contains(&long.text.len()));
        let mut many = raised(
            target,
            "e = ValueError(0)\nfor i in range(1, 1000):\n  n = ValueError(i); n.__cause__ = e; e = n\nraise e",
        );
        let mut depth = 1;
        while let Some(cause) = many.cause.take() {
            many = *cause;
            depth += 1;
        }
        assert_eq!(depth, 64);
        assert_silent(target);
    });
}

#[test]
fn names_live_where_they_should() {
    everywhere(|_, target| {
        assert_eq!(
            execute(target, "fresh = 1").ending,
            Ok(Ending::Returned(None))
        );
        assert_eq!(ask(target, "'fresh' in globals()"), "False");
        let mut task = payload(false, "known = run.__name__ + 'ner'");
        task.main_namespace = true;
        assert_eq!(perform(target, &task).ending, Ok(Ending::Returned(None)));
        assert_eq!(ask(target, "known"), "runner");
    });
}

#[test]
fn an_audit_hook_may_refuse() {
    everywhere(|_, target| {
        tell(
            target,
            "refused = ''\ndef hook(event, arguments):\n    \
             if event == refused and '<invivo>' in str(arguments): raise PermissionError('not here')\n\
             sys.addaudithook(hook)",
        );
        for event in ["compile", "exec"] {
            tell(target, &format!("refused = {event:?}"));
            let error = execute(target, "print('ran')")
                .ending
                .expect_err("it is refused");
            assert_eq!(error.kind, ErrorKind::Unsupported);
            assert!(
                error.why.ends_with("PermissionError: not here"),
                "{}",
                error.why
            );
        }
        tell(target, "refused = ''");
        assert_eq!(execute(target, "print('ran')").stdout(), "ran\n");
        assert_silent(target);
    });
}

#[test]
fn a_signal_interrupts_the_script_and_is_told() {
    everywhere(|_, target| {
        tell(
            target,
            "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)",
        );
        let exception = raised(
            target,
            "import os, signal\nprint('before')\nos.kill(os.getpid(), signal.SIGINT)\nwhile True: pass",
        );
        assert_eq!(exception.kind, "KeyboardInterrupt");
        assert_eq!(evaluate(target, "1").repr, "1");
        assert_silent(target);
    });
}

#[test]
fn a_subinterpreter_has_its_own_run() {
    let mut tried = 0;
    for interpreter in interpreters() {
        let target = start(interpreter, |launch| launch);
        // From 3.14 on the standard library has a stable way to make one.
        if ask(&target, "sys.version_info >= (3, 14)") != "True" {
            continue;
        }
        tried += 1;
        tell(
            &target,
            "from concurrent import interpreters; inner = interpreters.create()",
        );
        // Each interpreter has modules of its own; one that has no sockets would be given none.
        tell(&target, "inner.exec('import _socket')");
        let in_it = |statement: &str| {
            let path = statement.trim_start_matches("run(").trim_end_matches(')');
            let text = format!(
                "with open({path}) as f: text = f.read()\nexec(compile(text, '<string>', 'exec'), \
                 {{'__builtins__': __builtins__}})"
            );
            format!("inner.exec({text:?})")
        };
        for _ in 0..3 {
            let source = "import sys; print(len(sys.modules) > 5, 'threading' in sys.modules)";
            let told = perform_by(&target, &payload(false, source), in_it);
            assert_eq!(told.stdout(), "True False\n");
        }
        let value = perform_by(
            &target,
            &payload(true, "__import__('sys').stdout is None"),
            in_it,
        );
        assert_eq!(value.value().repr, "False");
        assert_silent(&target);
    }
    assert!(tried >= 4, "3.14 and 3.15 and their debug builds");
}
