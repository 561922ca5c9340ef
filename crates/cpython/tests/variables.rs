//! The variables of frames, in every interpreter there is.

mod picture;

use invivo_cpython::{StackOptions, ValueLimits};
use invivo_model::{ErrorKind, Role, Variable};
use picture::{open, shown};
use synth::{Launch, interpreters};

const FRAMES: &str = include_str!("targets/variables.py");

/// The frames of that target, innermost first, with their variables. Those in parentheses are
/// there where comprehensions have frames of their own, those in brackets where they have none.
const EXPECTED: &str = r#"
last
    argument function=function:@Derived.go.<locals>.cell_argument.<locals>.deep
cell_argument
    argument value=str:"itemitem"
    local deep=function:@Derived.go.<locals>.cell_argument.<locals>.deep
    free self=Derived:<>
go
    argument self=Derived:<>
    argument value=str:"itemitem"
    local swap=-
    local cell_argument=function:@Derived.go.<locals>.cell_argument
    free __class__=type:@Derived
go
    argument self=Base:<>
    argument value=str:"itemitem"
deeper
    argument argument=str:"itemitem"
waiting
    argument awaited=str:"itemitem"
    local result=-
    free deeper=function:@coroutine.<locals>.deeper
coroutine
    argument value=str:"itemitem"
    local waiting=function:@coroutine.<locals>.waiting
    cell deeper=function:@coroutine.<locals>.deeper
generator
    argument start=str:"itemitem"
    local inside=str:"itemitem"
generators
    argument value=str:"itemitem"
    local generator=function:@generators.<locals>.generator
<module>
    name given=str:"item"
    name result=str:"itemitem"
before
    argument value=str:"item"
    local scope=dict:{str:"given": str:"item", str:"__name__": str:"made up", int:5: str:"no name" of 4}
Body
    free each=str:"item"
    name attribute=str:"item"
    name method=function:@namespaces.<locals>.Body.<lambda>
namespaces
    argument each=str:"item"
    argument number=int:5
    local Body=-
(<listcomp>)
(    argument .0=tuple_iterator:?)
(    local each=str:"item")
(    free number=int:5)
comprehension
    argument number=int:5
[    local each=str:"item"]
inner
    argument own=int:2
    local innermost=function:@closures.<locals>.inner.<locals>.innermost
    cell mine=int:2
    free argument=str:"captured"
    free later=-
    free shared=list:[str:"shared"]
closures
    argument argument=str:"captured"
    argument plain=int:2
    local inner=function:@closures.<locals>.inner
    cell later=-
    cell shared=list:[str:"shared"]
arguments
    argument args=tuple:()
    argument kwargs=dict:{str:"only": int:3}
positional
    argument first=int:1
    argument second=int:2
    argument third=int:3
    argument fourth=int:4
    argument only=tuple:(int:6)
    argument other=str:"o"
    argument rest=tuple:()
    argument more=dict:{str:"extra": int:7}
    local local=int:3
    local unbound=-
    local gone=-
(<listcomp>)
(    argument .0=tuple_iterator:?)
(    local hidden=int:6)
<module>
[    local hidden=int:6]
    name sys=module:@sys
    name positional=function:@positional
    name arguments=function:@arguments
    name closures=function:@closures
    name comprehension=function:@comprehension
    name namespaces=function:@namespaces
    name before=function:@before
    name generators=function:@generators
    name coroutine=function:@coroutine
    name Base=type:@Base
    name Derived=type:@Derived
    name last=function:@last
    name MODULE_NAME=str:"module"
"#;

const LIMITS: ValueLimits = ValueLimits {
    depth: 2,
    items: 3,
    characters: 100,
    nodes: 1000,
};

fn expected(comprehensions_have_frames: bool) -> String {
    let (there, gone) = if comprehensions_have_frames {
        (['(', ')'], '[')
    } else {
        (['[', ']'], '(')
    };
    let lines = EXPECTED.trim_start().lines();
    let lines = lines.filter(|line| !line.starts_with(gone));
    let lines = lines.map(|line| match line.strip_prefix(there[0]) {
        Some(line) => line.strip_suffix(there[1]).expect("it ends as it begins"),
        None => line,
    });
    lines.flat_map(|line| [line, "\n"]).collect()
}

fn described(variable: &Variable) -> String {
    let role = match variable.role {
        Role::Argument => "argument",
        Role::Local => "local",
        Role::Cell => "cell",
        Role::Free => "free",
        Role::Name => "name",
    };
    let value = variable.value.as_ref().map_or("-".to_owned(), shown);
    format!("    {role} {}={value}\n", variable.name)
}

#[test]
fn variables_have_the_names_roles_and_values_that_they_have() {
    let with_frames = ["3.8", "3.9", "3.10", "3.11"];
    for interpreter in interpreters() {
        let process = Launch::new(interpreter, FRAMES).start();
        let runtime = open(&process);
        let options = StackOptions {
            slots: true,
            ..StackOptions::default()
        };
        let found = runtime.threads(&options).unwrap();
        let stack = &found[0].threads[0].stack;
        assert_eq!(stack.cut, None, "{}", interpreter.name);
        let mut text = String::new();
        for frame in &stack.frames {
            text += &format!("{}\n", frame.code.name);
            let variables = runtime.variables(frame, &LIMITS).unwrap();
            text.extend(variables.iter().map(described));
        }
        let expected = expected(with_frames.contains(&interpreter.name.as_str()));
        assert_eq!(text, expected, "{}", interpreter.name);
    }
}

#[test]
fn frames_without_their_slots_have_no_variables_to_tell() {
    let process = Launch::new(synth::interpreter("3.15"), FRAMES).start();
    let runtime = open(&process);
    let found = runtime.threads(&StackOptions::default()).unwrap();
    let frame = &found[0].threads[0].stack.frames[0];
    let error = runtime.variables(frame, &LIMITS).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Usage);
}
