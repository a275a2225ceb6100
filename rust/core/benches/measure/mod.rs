//! Output of the kernels' benches beside criterion's time: nanoseconds per element, and GFLOP/s or GB/s, for every
//! instruction set that the machine has.

#![allow(dead_code, reason = "every bench compiles this module and uses a part of it")]

use std::process::Command;

use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use criterion::{Criterion, Throughput};
use ssm_hpn::Threads;
use ssm_hpn::simd::Isa;

/// Wall time with two throughputs: nanoseconds per element, and work per nanosecond in a unit of its own.
pub(crate) struct Rate {
    time: WallTime,
    unit: &'static str,
}

impl ValueFormatter for Rate {
    fn scale_values(&self, typical: f64, values: &mut [f64]) -> &'static str {
        self.time.formatter().scale_values(typical, values)
    }
    fn scale_throughputs(&self, _: f64, throughput: &Throughput, values: &mut [f64]) -> &'static str {
        let (Throughput::Elements(n) | Throughput::Bytes(n)) = throughput else {
            panic!("elements and work are what is counted, found {throughput:?}");
        };
        let per_element = matches!(throughput, Throughput::Elements(_));
        for value in values {
            *value = if per_element { *value / *n as f64 } else { *n as f64 / *value };
        }
        if per_element { "ns/element" } else { self.unit }
    }
    fn scale_for_machines(&self, values: &mut [f64]) -> &'static str {
        self.time.formatter().scale_for_machines(values)
    }
}

impl Measurement for Rate {
    type Intermediate = <WallTime as Measurement>::Intermediate;
    type Value = <WallTime as Measurement>::Value;

    fn start(&self) -> Self::Intermediate {
        self.time.start()
    }
    fn end(&self, start: Self::Intermediate) -> Self::Value {
        self.time.end(start)
    }
    fn add(&self, a: &Self::Value, b: &Self::Value) -> Self::Value {
        self.time.add(a, b)
    }
    fn zero(&self) -> Self::Value {
        self.time.zero()
    }
    fn to_f64(&self, value: &Self::Value) -> f64 {
        self.time.to_f64(value)
    }
    fn formatter(&self) -> &dyn ValueFormatter {
        self
    }
}

fn criterion(unit: &'static str) -> Criterion<Rate> {
    let rate = Rate { time: WallTime, unit };
    Criterion::default().with_measurement(rate).sample_size(20).configure_from_args()
}

/// For kernels that compute: the work of [`work`] is operations, a multiply-add two of them.
pub(crate) fn computing() -> Criterion<Rate> {
    criterion("GFLOP/s")
}

/// For kernels that move: the work is bytes read and written.
pub(crate) fn moving() -> Criterion<Rate> {
    criterion("GB/s")
}

/// Elements of a pass, and operations or bytes for each.
pub(crate) fn work(elements: usize, each: f64) -> Throughput {
    Throughput::ElementsAndBytes { elements: elements as u64, bytes: (elements as f64 * each) as u64 }
}

/// Name of the instruction set in use.
pub(crate) fn isa() -> &'static str {
    Isa::active().name()
}

/// Runs `routine` on one thread.
pub(crate) fn on_one_thread(routine: impl FnOnce() + Send) {
    Threads::new(Some(1)).and_then(|one| one.install(routine)).expect("a pool of one thread");
}

/// Numbers in [-1, 1).
pub(crate) fn numbers(n: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    let next = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1_u32 << 23) as f32 - 1.0
    };
    (0..n).map(next).collect()
}

/// Runs `benches` once for each instruction set of the machine, in a process of its own, for the choice is made once per
/// process; only for the one that `SSM_HPN_SIMD` names, if it is set.
pub(crate) fn on_every_instruction_set(benches: impl FnOnce()) {
    const VARIABLE: &str = "SSM_HPN_SIMD";
    if std::env::var_os(VARIABLE).is_some() {
        benches();
        return;
    }
    let program = std::env::current_exe().expect("this program");
    for isa in Isa::available() {
        let arguments = std::env::args_os().skip(1);
        let child = Command::new(&program).args(arguments).env(VARIABLE, isa.name()).status();
        let ended_well = child.as_ref().is_ok_and(std::process::ExitStatus::success);
        assert!(ended_well, "the bench with {VARIABLE}={} ended with {child:?}", isa.name());
    }
}
