//! What is shown of processor time.

use super::*;

/// A thread looks runnable all the time and gets a third of a processor; another one, that no
/// thread state belongs to, has a processor of its own.
#[test]
fn a_thread_that_waits_for_a_processor_is_not_on_one() {
    let mut scene = Scene::empty();
    scene.process("shop.py");
    scene.thread(11, Some("MainThread"));
    scene.feed.thread(&ProfileThread {
        process: 0,
        tid: 12,
        name: Some(text("blas")),
        interpreter: ProfileThread::WITHOUT_PYTHON,
        is_main: false,
    });
    let stack = scene.stack(&[("main", 3)]);
    let outside = scene.stack(&[("<thread without Python>", 0)]);
    let native = Seen {
        stack: None,
        status: SampleStatus::default(),
        ..seen(1, outside, false)
    };
    for _ in 0..1001 {
        let main = Seen {
            status: SampleStatus {
                on_cpu: Some(false),
                waits_for_cpu: Some(true),
                holds_gil: Some(true),
                ..SampleStatus::default()
            },
            ..seen(0, stack, false)
        };
        scene.charge(&main, TICK / 4, TICK / 4 * 3);
        scene.charge(&seen(1, outside, true), TICK, 0);
        scene.tick(&[main, native]);
    }
    scene.take();
    let screen = scene.screen(80, 24);
    assert_eq!(
        screen[2],
        "load   █████ CPU 125% +75% queued  GIL 100%  2 threads, 0.0 idle, ? want the GIL"
    );
    scene.press(KeyCode::Char('3'));
    assert_eq!(
        scene.rows(),
        [
            " 100.0    0.0    0.0      ?    0.0    5.0      12 blas       <thread without Py…",
            "  25.0   75.0  100.0      ?    0.0    1.3      11 MainThread main  shop.py:3",
        ]
    );
}

/// Where the kernel keeps no accounts, nothing claims to know more than that a thread is runnable.
#[test]
fn without_accounts_a_thread_is_called_runnable() {
    let mut scene = Scene::empty();
    scene.process("shop.py");
    scene.thread(11, Some("MainThread"));
    let stack = scene.stack(&[("main", 3)]);
    let mut runnable = seen(0, stack, true);
    runnable.status.waits_for_cpu = None;
    for _ in 0..1001 {
        scene.about.ticks += 1;
        scene.about.duration += TICK;
        scene.feed.tick(&scene.about, &[runnable]).unwrap();
        scene.take();
    }
    let load = scene.screen(80, 24)[2].clone();
    assert!(load.contains(" runnable 100%  GIL 100%"), "{load}");
    scene.press(KeyCode::Char('3'));
    let row = " 100.0      ?  100.0      ?    0.0    5.0      11 MainThread main  shop.py:3";
    assert_eq!(scene.rows(), [row]);
}
