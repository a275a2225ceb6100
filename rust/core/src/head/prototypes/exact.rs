//! Prototypes that are given by a formula.

/// The regular simplex: every pair at cosine -1/(C-1). `[classes, dim]`, dim ≥ classes - 1, zero columns beyond that.
///
/// Column i separates class i from those after it, which keep the rest of their length for the columns to come:
/// `V[i,i] = s_i, V[j>i,i] = -s_i/k, s_{i+1} = s_i·√(1-1/k²), k = C-1-i, s_0 = 1`.
pub fn simplex(classes: usize, dim: usize) -> Vec<f64> {
    assert!(dim + 1 >= classes, "a simplex of {classes} classes needs {} dimensions", classes - 1);
    let mut rows = vec![0.0; classes * dim];
    fill_simplex(&mut rows, dim, 0..classes, 0);
    rows
}

/// Writes the simplex of `members` into the columns from `column` on.
fn fill_simplex(rows: &mut [f64], dim: usize, members: std::ops::Range<usize>, column: usize) {
    let mut s = 1.0;
    for (i, member) in members.clone().enumerate().take(members.len() - 1) {
        let k = (members.len() - 1 - i) as f64;
        rows[member * dim + column + i] = s;
        for later in member + 1..members.end {
            rows[later * dim + column + i] = -s / k;
        }
        s *= (1.0 - 1.0 / (k * k)).sqrt();
    }
}

/// The smallest possible largest cosine, 0 (Rankin), for dim + 1 < classes ≤ 2·dim: C-Q blocks of near-equal size, a
/// simplex each on coordinates of its own. 2·Q classes are the orthoplex.
pub(crate) fn blocks(classes: usize, dim: usize) -> Vec<f64> {
    assert!(
        classes > dim && classes <= 2 * dim,
        "{classes} classes do not fit into blocks in {dim} dimensions"
    );
    let count = classes - dim;
    let mut rows = vec![0.0; classes * dim];
    let (mut first, mut column) = (0, 0);
    for block in 0..count {
        let size = classes / count + usize::from(block < classes % count);
        fill_simplex(&mut rows, dim, first..first + size, column);
        first += size;
        column += size - 1;
    }
    rows
}

/// The least degree of [`near_orthogonal`] that has enough prototypes, and its bound on the cosine.
pub(crate) fn least_degree(classes: usize, dim: usize) -> Option<(u32, f64)> {
    let p = prime_below(dim / 2)?;
    let mut capacity = 4_u128;
    for degree in 1..u32::try_from(p).ok()? {
        capacity = capacity.saturating_mul(p as u128);
        if capacity >= classes as u128 {
            return Some((degree, f64::from(degree - 1) / (p as f64).sqrt()));
        }
    }
    None
}

/// Prototypes whose cosines are bounded by Weil's theorem, in O(C·Q·degree), without any random number.
///
/// p is the largest prime ≤ Q/2. A polynomial f of degree ≤ d over the field of p elements, without a constant term, and
/// a quarter turn r give the row (cos φ_t, sin φ_t)/√p, t = 0..p, with φ_t = 2π(f(t)/p + r/4). Two rows have cosine
/// Re Σ_t exp(2πi((f-g)(t)/p + (r-s)/4))/p: at most (d-1)/√p for f ≠ g, and 0 or -1 for f = g. There are 4·p^d rows,
/// those of lower degree first: the first 2p are orthonormal, the first 4p an orthoplex. Columns beyond 2p are zero.
pub fn near_orthogonal(classes: usize, dim: usize, degree: u32) -> Vec<f64> {
    #[expect(clippy::expect_used, reason = "the bounds of the dimension are checked with the settings")]
    let p = prime_below(dim / 2).expect("two dimensions for each element of a field");
    let root = (p as f64).sqrt();
    // cos and sin of 2π·k/(4p): phases are multiples of a quarter of 1/p.
    let circle: Vec<[f64; 2]> = (0..4 * p)
        .map(|k| {
            let phase = std::f64::consts::TAU * k as f64 / (4 * p) as f64;
            [phase.cos() / root, phase.sin() / root]
        })
        .collect();
    let mut rows = vec![0.0; classes * dim];
    let mut coefficients = vec![0; degree as usize];
    for (class, row) in rows.chunks_exact_mut(dim).enumerate() {
        let (linear, rest) = (class % p, class / p);
        let (turn, mut rest) = (rest % 4, rest / 4);
        coefficients[0] = linear;
        for c in &mut coefficients[1..] {
            *c = rest % p;
            rest /= p;
        }
        assert_eq!(rest, 0, "4·{p}^{degree} prototypes are fewer than {classes}");
        for (t, pair) in row[..2 * p].chunks_exact_mut(2).enumerate() {
            let f = coefficients.iter().rev().fold(0, |f, c| (f + c) * t % p);
            pair.copy_from_slice(&circle[(4 * f + turn * p) % (4 * p)]);
        }
    }
    rows
}

/// The largest prime ≤ n.
fn prime_below(n: usize) -> Option<usize> {
    (2..=n).rev().find(|&n| (2..=n.isqrt()).all(|d| n % d != 0))
}
