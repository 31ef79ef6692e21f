//! Seeding and drawing are one step. In a process of its own, for libtorch's generator is one for the whole process: a
//! test beside this one that draws without a seed of its own would be seen here.

use std::sync::mpsc;
use std::time::Duration;

use flow_core::rng;
use tch::{Device, Kind, Tensor};

/// The moment that matters: one thread has seeded and not yet drawn, another wants to do both.
#[test]
fn nobody_draws_between_another_threads_seed_and_draw() {
    let draw = || Tensor::randn([5], (Kind::Float, Device::Cpu));
    let alone = [rng::with_seed(1, draw), rng::with_seed(2, draw)];
    let (seeded, wait_for_seeded) = mpsc::channel();
    let (drawn, wait_for_drawn) = mpsc::channel();
    let second = std::thread::spawn(move || {
        wait_for_seeded.recv().unwrap();
        let numbers = rng::with_seed(2, draw);
        drawn.send(()).unwrap();
        numbers
    });
    let first = rng::with_seed(1, || {
        seeded.send(()).unwrap();
        // Gives the other all the time it needs, and must not see it arrive.
        let arrived = wait_for_drawn.recv_timeout(Duration::from_millis(300));
        (draw(), arrived.is_ok())
    });
    assert_eq!(first, (alone[0].shallow_clone(), false));
    assert_eq!(second.join().unwrap(), alone[1]);
}
