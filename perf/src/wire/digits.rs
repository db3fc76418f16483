//! Numbers of fixed width, written over what was there.
//!
//! Owns the stamping of digits into ready-made frames; the width never changes, so nothing moves.

/// "00" "01" .. "99"
const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[0; 2]; 100];
    let mut number = 0;
    while number < 100 {
        pairs[number] = [b'0' + (number / 10) as u8, b'0' + (number % 10) as u8];
        number += 1;
    }
    pairs
};

/// "00" "01" .. "FF"
const HEX_PAIRS: [[u8; 2]; 256] = {
    let mut pairs = [[0; 2]; 256];
    let hex = b"0123456789ABCDEF";
    let mut number = 0;
    while number < 256 {
        pairs[number] = [hex[number >> 4], hex[number & 15]];
        number += 1;
    }
    pairs
};

/// Fills `place` with the last digits of `number`, with zeros in front.
#[inline]
pub fn decimal(place: &mut [u8], mut number: u64) {
    let mut pairs = place.rchunks_exact_mut(2);
    for pair in &mut pairs {
        pair.copy_from_slice(&PAIRS[(number % 100) as usize]);
        number /= 100;
    }
    if let [first] = pairs.into_remainder() {
        *first = b'0' + (number % 10) as u8;
    }
}

/// Fills `place` with `number` in sixteen hexadecimal digits.
#[inline]
pub fn hex(place: &mut [u8; 16], number: u64) {
    for (pair, byte) in place.chunks_exact_mut(2).zip(number.to_be_bytes()) {
        pair.copy_from_slice(&HEX_PAIRS[usize::from(byte)]);
    }
}

/// How many decimal digits `number` has.
pub fn width(number: u64) -> usize {
    number.checked_ilog10().map_or(1, |log| log as usize + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_fill_their_place() {
        for (width, number, text) in
            [(1, 7, "7"), (3, 7, "007"), (4, 12_345, "2345"), (10, 1_000_000_007, "1000000007")]
        {
            let mut place = vec![b'x'; width];
            decimal(&mut place, number);
            assert_eq!(place, text.as_bytes());
        }
        let mut place = [0; 16];
        hex(&mut place, 0x0123_4567_89AB_CDEF);
        assert_eq!(&place, b"0123456789ABCDEF");
    }

    #[test]
    fn widths() {
        assert_eq!([0, 9, 10, 99, 100].map(width), [1, 1, 2, 2, 3]);
    }
}
