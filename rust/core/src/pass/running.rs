//! Numbers that a head keeps over the updates of training.

/// Numbers that a head keeps over the updates of training besides its parameters, in double precision, and what the passes
/// since the last update have gathered. Checkpoints hold them, so that training goes on in the same bits.
///
/// ```
/// use ssm_hpn::pass::Running;
///
/// // A head that counts its features adds them up here, and takes the sum into `kept` in `Head::updated`.
/// let mut gathered = [0.0];
/// let running = Running { kept: &[7.0], gathered: &mut gathered };
/// running.gathered[0] += 3.0;
/// assert_eq!(running.kept[0] + running.gathered[0], 10.0);
/// ```
#[derive(Debug)]
pub struct Running<'a> {
    /// As the last update left them.
    pub kept: &'a [f64],
    /// Sums over the passes since, as many numbers; zero after each update.
    pub gathered: &'a mut [f64],
}

impl Running<'_> {
    /// The same, reborrowed.
    pub(crate) fn reborrow(&mut self) -> Running<'_> {
        Running { kept: self.kept, gathered: self.gathered }
    }
}
