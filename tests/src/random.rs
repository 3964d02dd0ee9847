//! Random numbers that can be had again: every choice that a run makes follows from its seed.

/// SplitMix64.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The sequence of `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`; 0 where `end` is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        // The remainder's bias is of no account for numbers as small as ours.
        self.bits().checked_rem(end).unwrap_or(0)
    }

    /// True in `share` of all cases, 0 to 1.
    pub fn chance(&mut self, share: f64) -> bool {
        const BITS: u32 = 53;
        let unit = (self.bits() >> (64 - BITS)) as f64 / (1_u64 << BITS) as f64;
        unit < share
    }
}
