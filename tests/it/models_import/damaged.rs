//! Files with flipped, cut and repeated bytes: an error or a model, never a panic, and never much memory.

use super::made::{Proto, lightgbm, stump, ubj, xgboost, xgboost_stump};
use super::{block, onnx, read};
use crate::shared::shared;
use lakemill::error::ErrorKind;
use proptest::prelude::*;

/// Small models of every format.
fn examples() -> Vec<Vec<u8>> {
    let pandas = "pandas_categorical:[[\"z\", \"y\"]]\n";
    let header = "objective=binary sigmoid:1\nfeature_infos=0:1 [0:1]";
    let document = xgboost("binary:logistic", "[5E-1]", vec![xgboost_stump(0.5, 1), xgboost_stump(-0.5, 0)]);
    let mut all = vec![
        lightgbm(
            2,
            1,
            header,
            &[
                &stump(1 | 8, "0").replace("num_cat=0", "num_cat=1\ncat_boundaries=0 1\ncat_threshold=5"),
                &stump(2, "0.5"),
            ],
            pandas,
        ),
        document.to_string().into_bytes(),
        ubj(&document),
    ];
    all.extend(onnx::examples());
    all
}

/// Reads the bytes; what is read predicts.
fn survive(bytes: &[u8]) -> Result<(), TestCaseError> {
    match read(bytes) {
        Ok(model) => {
            if let Ok(predictor) = model.predictor(None) {
                let width = predictor.features();
                prop_assert!(width < 1 << 21);
                if width < 1000 {
                    let rows: Vec<Vec<f64>> =
                        [f64::NAN, 0.0, -1.5, f64::INFINITY].map(|value| vec![value; width]).to_vec();
                    prop_assert_eq!(predictor.predict(&block(&rows)).len(), 4 * predictor.outputs());
                }
            }
        }
        Err(error) => {
            let kinds = [ErrorKind::Usage, ErrorKind::Check, ErrorKind::Verification];
            prop_assert!(kinds.contains(&error.kind()), "{error:?}");
            prop_assert!(error.to_string().len() < 2000, "{}", error);
        }
    }
    Ok(())
}

/// The bytes with a few changes at random places.
fn change(mut bytes: Vec<u8>, changes: &[(usize, u8, u8)]) -> Vec<u8> {
    for (place, how, value) in changes {
        if bytes.is_empty() {
            break;
        }
        let place = place % bytes.len();
        match how % 5 {
            0 => bytes[place] ^= 1 << (value % 8),
            1 => bytes[place] = *value,
            2 => bytes.truncate(place),
            3 => drop(bytes.drain(place..(place + usize::from(*value)).min(bytes.len()))),
            _ => {
                let part = bytes[place..(place + usize::from(*value)).min(bytes.len())].to_vec();
                bytes.splice(place..place, part);
            }
        }
    }
    bytes
}

/// Numbers at the ends of what types hold, and beyond.
const EXTREMES: [i64; 12] =
    [i64::MIN, i64::MAX, -1, 0, 1 << 20, (1 << 20) + 1, 1 << 31, (1 << 32) - 1, 1 << 32, 1 << 40, 1 << 53, 1 << 62];

/// The text with one of its runs of digits replaced.
fn with_number(text: &[u8], which: usize, number: i64) -> Vec<u8> {
    let digit = |place: usize| text.get(place).is_some_and(u8::is_ascii_digit);
    let starts: Vec<usize> =
        (0..text.len()).filter(|place| digit(*place) && !(*place > 0 && digit(place - 1))).collect();
    let start = starts[which % starts.len()];
    let end = (start..).find(|place| !digit(*place)).unwrap();
    [&text[..start], number.to_string().as_bytes(), &text[end..]].concat()
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// The protocol buffer with one of its whole numbers replaced, in whatever message it stands; lengths are made anew.
/// `None` where the bytes are no message. `left` counts down to the number.
fn with_varint(mut bytes: &[u8], left: &mut usize, number: i64) -> Option<Vec<u8>> {
    let mut made = Proto::default();
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        let field = (key >> 3 > 0 && key >> 3 < 100).then_some(key >> 3)?;
        match key & 7 {
            0 => {
                let own = varint(&mut bytes)? as i64;
                let replaced = *left == 0;
                *left = left.wrapping_sub(1);
                made = made.int(field, if replaced { number } else { own });
            }
            2 => {
                let length = usize::try_from(varint(&mut bytes)?).ok()?;
                let (inner, rest) = bytes.split_at_checked(length)?;
                bytes = rest;
                let before = *left;
                let inside = with_varint(inner, left, number);
                if inside.is_none() {
                    *left = before;
                }
                made = made.bytes(field, inside.unwrap_or_else(|| inner.to_vec()));
            }
            5 => {
                let (own, rest) = bytes.split_first_chunk::<4>()?;
                bytes = rest;
                made.0.push((field << 3) as u8 | 5);
                made.0.extend(own);
            }
            _ => return None,
        }
    }
    Some(made.0)
}

#[test]
fn extreme_numbers_are_refused_or_read() {
    for (which, example) in examples().into_iter().enumerate() {
        let is_text = which < 2;
        let places = if is_text { 300 } else { 120 };
        for place in 0..places {
            for number in EXTREMES {
                let bytes = match is_text {
                    true => with_number(&example, place, number),
                    // Of UBJSON, which is no protocol buffer, nothing is replaced.
                    false => with_varint(&example, &mut place.clone(), number).unwrap_or_default(),
                };
                survive(&bytes).unwrap_or_else(|error| panic!("{which} {place} {number}: {error}"));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn changed_files_are_refused_or_read(
        which in 0usize..6,
        changes in prop::collection::vec((any::<usize>(), any::<u8>(), any::<u8>()), 1..6),
    ) {
        survive(&change(examples().swap_remove(which), &changes))?;
    }

    #[test]
    fn bytes_behind_a_beginning_are_refused_or_read(
        start in 0usize..5,
        bytes in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let starts: [&[u8]; 5] = [b"tree\n", b"{\"", b"{L", b"\x08\x08\x3a", b""];
        survive(&[starts[start], &bytes].concat())?;
    }
}

#[test]
fn examples_are_whole() {
    for example in examples() {
        read(&example).unwrap().predictor(None).unwrap();
    }
}

#[test]
fn every_cut_of_a_small_file_is_refused() {
    for example in examples().into_iter().take(3) {
        // Behind its last part, a text file may end anywhere.
        let end = example.len() - 120.min(example.len() / 4);
        for end in 0..end {
            assert!(read(&example[..end]).is_err(), "cut at {end} of {}", example.len());
        }
    }
}

#[test]
fn changed_real_files_are_refused_or_read() {
    let Some(folder) = shared("conformance/models") else { return };
    for file in [
        "lightgbm/lg_dart_breast_cancer.model",
        "xgboost/gbdt-rs__xgb_rank_pairwise.ubj",
        "xgboost/gbdt-rs__xgb_rank_pairwise.json",
        "onnx/tec_binary_logistic.onnx",
        "onnx/te5_float32.onnx",
        "onnx/ter_multitarget_max.onnx",
    ] {
        let bytes = std::fs::read(folder.join(file)).unwrap();
        for step in 0..60 {
            let place = step * 7919 + 13;
            let changes = [(place, step as u8, (step * 37) as u8), (place * 31, 1, b'9')];
            survive(&change(bytes.clone(), &changes)).unwrap_or_else(|error| panic!("{file} {step}: {error}"));
        }
    }
}
