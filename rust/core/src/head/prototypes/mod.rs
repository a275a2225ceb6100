//! Prototypes: C unit vectors in Q dimensions, one per class, as far from each other as they can be.
//!
//! | kind | when | largest cosine |
//! |---|---|---|
//! | simplex | Q ≥ C-1 | -1/(C-1), exact for every pair |
//! | blocks | C/2 ≤ Q < C-1 | 0, the smallest possible |
//! | separated | Q < C/2 | optimised; costs O(C²Q) per step |
//! | near-orthogonal | more classes than that is worth | (d-1)/√p proven, see [`exact::near_orthogonal`] |
//! | random | so many classes, or so few dimensions, that chance does as well | about √(1 - C^(-4/(Q-1))) |
//! | semantic | asked for, with class vectors | as small as the order of the vectors' cosines lets it be |
//! | given | asked for, with class vectors | that of the vectors |
//!
//! Prototypes of classes that come later are placed one by one beside those that are there (`placed`), which stay.
//!
//! Everything follows from the sizes, the seed and the class vectors, with the same bits for any number of threads.

pub(crate) mod assignment;
pub(crate) mod class_vectors;
pub(crate) mod cosines;
pub(crate) mod exact;
mod kept;
mod placed;
mod random;
pub(crate) mod semantic;
pub(crate) mod separation;

pub use assignment::ASSIGNMENT_LIMIT;
pub use class_vectors::ClassVectors;
pub use cosines::largest_cosine;
pub use exact::{near_orthogonal, simplex};
pub(crate) use placed::nearest_cosine;
pub use placed::placed;
pub(crate) use random::normalise;
pub use random::random;
pub use semantic::{order_kept, semantic};
pub use separation::separate;

/// Most classes whose prototypes are optimised: memory and time grow with their square.
pub const SEPARATION_LIMIT: usize = 8192;

/// Operations of one optimisation step (C²·Q) up to which it is chosen by itself: about ten seconds on two cores.
const SEPARATION_COST: usize = 150_000_000;

/// Construction of prototypes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Construction {
    /// Every pair at cosine -1/(C-1).
    Simplex,
    /// Simplices on coordinates of their own.
    Blocks,
    /// Optimised.
    Separated,
    /// Values of the polynomials up to this degree over a prime field, as phases.
    NearOrthogonal {
        /// Largest degree.
        degree: u32,
    },
    /// Independent random directions.
    Random,
    /// Optimised so that their cosines follow the order of those of class vectors.
    Semantic,
    /// The directions of class vectors.
    Given,
}

impl Construction {
    /// The construction for `classes` prototypes in `dim` dimensions: exact if there is one, else the best of bounded
    /// cost.
    pub fn choose(classes: usize, dim: usize) -> Self {
        if classes <= dim + 1 {
            Self::Simplex
        } else if classes <= 2 * dim {
            Self::Blocks
        } else if classes <= SEPARATION_LIMIT
            && classes.saturating_mul(classes).saturating_mul(dim.max(32)) <= SEPARATION_COST
        {
            Self::Separated
        } else {
            match exact::least_degree(classes, dim) {
                Some((degree, bound)) if bound < random_cosine(classes, dim) => {
                    Self::NearOrthogonal { degree }
                }
                _ => Self::Random,
            }
        }
    }

    /// Name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Simplex => "simplex",
            Self::Blocks => "blocks of simplices",
            Self::Separated => "separated",
            Self::NearOrthogonal { .. } => "near-orthogonal",
            Self::Random => "random",
            Self::Semantic => "semantic",
            Self::Given => "given",
        }
    }

    /// Whether they are made from class vectors.
    pub fn needs_vectors(self) -> bool {
        matches!(self, Self::Semantic | Self::Given)
    }

    /// The prototypes, row-major `[classes, dim]`. What takes long is done once in a process.
    ///
    /// Panics where they are made from class vectors and there are none, or not of these sizes.
    #[expect(
        clippy::expect_used,
        reason = "the head asks for class vectors before it builds prototypes of them"
    )]
    pub fn build(self, classes: usize, dim: usize, seed: u64, vectors: Option<&ClassVectors>) -> Vec<f64> {
        let of_classes = || {
            let vectors = vectors.expect("class vectors");
            assert_eq!(vectors.classes(), classes, "class vectors");
            vectors
        };
        match self {
            Self::Simplex => simplex(classes, dim),
            Self::Blocks => exact::blocks(classes, dim),
            Self::Separated => {
                kept::kept(&format!("separated {classes} {dim} {seed}"), || separate(classes, dim, seed))
            }
            Self::NearOrthogonal { degree } => near_orthogonal(classes, dim, degree),
            Self::Random => random(classes, dim, seed),
            Self::Semantic => {
                let vectors = of_classes();
                let name = format!("semantic {dim} {seed} {}", vectors.digest());
                kept::kept(&name, || semantic(vectors, dim, seed))
            }
            Self::Given => {
                let vectors = of_classes();
                assert_eq!(vectors.dim(), dim, "numbers of a class vector");
                vectors.rows().to_vec()
            }
        }
    }
}

/// Largest cosine to expect among random directions: C²/2 pairs, each above ρ with a chance near (1-ρ²)^((Q-1)/2).
fn random_cosine(classes: usize, dim: usize) -> f64 {
    (1.0 - (classes as f64).powf(-4.0 / (dim.max(2) - 1) as f64)).sqrt()
}

#[cfg(test)]
mod tests;
