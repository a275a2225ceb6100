//! The instruction sets, which of them this processor has, and which one is in use.

#![forbid(unsafe_code)]

use std::sync::OnceLock;

use crate::error::{Error, Result};

/// An instruction set that kernels are compiled for.
///
/// ```
/// use ssm_hpn::simd::Isa;
///
/// let chosen = Isa::active();
/// assert!(chosen.is_available() && Isa::available().contains(&chosen));
/// assert_eq!(Isa::available()[0].name(), "scalar"); // there always
/// # if std::env::var("SSM_HPN_SIMD").is_err() {
/// // With SSM_HPN_SIMD unset it is the best one.
/// assert_eq!(Isa::available().last(), Some(&Isa::check_environment()?));
/// # }
/// # Ok::<(), ssm_hpn::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isa {
    /// One lane; any processor.
    Scalar,
    /// AVX2 and FMA.
    Avx2,
    /// AVX-512 F, BW, CD, DQ, VL.
    Avx512,
    /// NEON.
    Neon,
}

impl Isa {
    /// All names, best last for each processor family.
    pub const ALL: [Self; 4] = [Self::Scalar, Self::Neon, Self::Avx2, Self::Avx512];

    /// Name as in `SSM_HPN_SIMD`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Neon => "neon",
        }
    }

    /// Whether this processor has it.
    pub fn is_available(self) -> bool {
        match self {
            Self::Scalar => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => pulp::x86::V3::try_new().is_some(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => pulp::x86::V4::try_new().is_some(),
            #[cfg(target_arch = "aarch64")]
            Self::Neon => pulp::aarch64::Neon::try_new().is_some(),
            _ => false,
        }
    }

    /// The instruction sets that this processor has, best last.
    pub fn available() -> Vec<Self> {
        Self::ALL.into_iter().filter(|isa| isa.is_available()).collect()
    }

    /// The one in use: `SSM_HPN_SIMD`, else the best. Chosen once. A wrong setting counts as none here; a model is not made
    /// with one ([`Isa::check_environment`]).
    pub fn active() -> Self {
        static ACTIVE: OnceLock<Isa> = OnceLock::new();
        *ACTIVE.get_or_init(|| Self::check_environment().unwrap_or_else(|_| Self::best()))
    }

    /// The instruction set that the environment asks for, or the best one if it asks for none.
    pub fn check_environment() -> Result<Self> {
        let Ok(name) = std::env::var("SSM_HPN_SIMD") else { return Ok(Self::best()) };
        let have = Self::available();
        have.iter().copied().find(|isa| isa.name() == name).ok_or_else(|| {
            let names: Vec<_> = have.iter().map(|isa| isa.name()).collect();
            let expected = format!("one of {} on this processor", names.join(", "));
            Error::config("SSM_HPN_SIMD", expected, format!("{name:?}"), "unset it to take the best")
        })
    }

    fn best() -> Self {
        *Self::available().last().unwrap_or(&Self::Scalar)
    }
}
