//! Every case of `../shared/conformance/models`: the library's predictions, or a refusal.

use super::{block, close, predictions, read};
use crate::shared::shared;
use lakemill::models::import::{self, ImportOptions, Imported};
use lakemill::task::Task;
use std::fs;
use std::path::Path;

fn numbers(path: &Path) -> Vec<Vec<f64>> {
    let text = fs::read_to_string(path).unwrap();
    let row = |line: &str| line.split([',', '\t', ' ']).map(|number| number.trim().parse().unwrap()).collect();
    text.lines().filter(|line| !line.is_empty()).map(row).collect()
}

#[test]
fn lightgbm_predicts_the_same() {
    let Some(folder) = shared("conformance/models/lightgbm") else { return };
    // The model, its rows, what is expected, and whether that is before the link.
    let cases = [
        ("lgmulticlass.model", "multiclass_test.tsv", "lgmulticlass_true_predictions.txt", false),
        ("lgmulticlass.model", "multiclass_test.tsv", "lgmulticlass_true_raw_predictions.txt", true),
        ("lg_kddcup99.model", "kddcup99_test.tsv", "lg_kddcup99_true_predictions.txt", true),
        ("lg_dart_breast_cancer.model", "breast_cancer_test.tsv", "lg_dart_breast_cancer_true_predictions.txt", false),
        (
            "genlin_fmtp_poisson_Frequency.model",
            "genlin_fmtp_poisson_Frequency_features.tsv",
            "genlin_fmtp_poisson_Frequency_true_predictions.txt",
            false,
        ),
        (
            "genlin_fmtp_gamma_AvgClaimAmount.model",
            "genlin_fmtp_gamma_AvgClaimAmount_features.tsv",
            "genlin_fmtp_gamma_AvgClaimAmount_true_predictions.txt",
            false,
        ),
    ];
    for (model, rows, expected, raw) in cases {
        let imported = read(&fs::read(folder.join(model)).unwrap()).unwrap();
        let width = imported.features.len();
        // Some tables begin with the label.
        let rows: Vec<Vec<f64>> =
            numbers(&folder.join(rows)).into_iter().map(|row| row[row.len() - width..].to_vec()).collect();
        let expected = numbers(&folder.join(expected));
        let predictor = imported.predictor(None).unwrap();
        let found = if raw {
            predictor.raw(&block(&rows)).chunks(predictor.form().scores()).map(<[f64]>::to_vec).collect()
        } else {
            predictions(&predictor, &rows)
        };
        assert_eq!(found.len(), expected.len(), "{model}");
        for (row, (found, expected)) in found.iter().zip(&expected).enumerate() {
            assert_eq!(found.len(), expected.len(), "{model}");
            found
                .iter()
                .zip(expected)
                .for_each(|(found, expected)| close(*found, *expected, 1e-12, &format!("{model} {row}")));
        }
    }
}

/// Rows of LibSVM text, in which what is absent is missing; or of comma-separated text.
fn xgboost_rows(path: &Path, width: usize) -> Vec<Vec<f64>> {
    let text = fs::read_to_string(path).unwrap();
    if text.contains(',') {
        return numbers(path).into_iter().map(|row| row[..width].to_vec()).collect();
    }
    let row = |line: &str| {
        let mut row = vec![f64::NAN; width];
        for (place, value) in line.split_whitespace().filter_map(|pair| pair.split_once(':')) {
            if let (Ok(place), Ok(value)) = (place.parse::<usize>(), value.parse()) {
                row[place] = value;
            }
        }
        row
    };
    text.lines().map(row).collect()
}

#[test]
fn xgboost_predicts_the_same() {
    let Some(folder) = shared("conformance/models/xgboost") else { return };
    let manifest = fs::read_to_string(folder.join("MANIFEST.tsv")).unwrap();
    let mut cases = 0;
    for line in manifest.lines().skip(1) {
        let fields: Vec<&str> = line.split('\t').collect();
        let expected = numbers(&folder.join(fields[2]));
        let mut payloads = Vec::new();
        for file in [fields[0].to_owned(), fields[0].replace(".json", ".ubj")] {
            let imported = read(&fs::read(folder.join(&file)).unwrap()).unwrap();
            let rows = xgboost_rows(&folder.join(fields[1]), imported.features.len());
            let predictor = imported.predictor(None).unwrap();
            let found = predictions(&predictor, &rows);
            assert_eq!(found.len(), expected.len(), "{file}");
            for (row, (found, expected)) in found.iter().zip(&expected).enumerate() {
                let place = format!("{file} {row}");
                if found.len() == expected.len() {
                    let tolerance = if predictor.task() == Task::Regression { 1e-5 } else { 1e-6 };
                    found
                        .iter()
                        .zip(expected)
                        .for_each(|(found, expected)| close(*found, *expected, tolerance, &place));
                } else {
                    // multi:softmax gives the class alone.
                    let best = (0..found.len()).max_by(|a, b| found[*a].total_cmp(&found[*b])).unwrap();
                    assert_eq!(best as f64, expected[0], "{place}");
                }
            }
            payloads.push(predictor.to_payload().unwrap());
            cases += 1;
        }
        assert!(payloads[0] == payloads[1], "JSON and UBJSON differ: {}", fields[0]);
    }
    assert!(cases >= 14, "{cases} cases");
}

/// What a case expects of each row, output after output of the graph's last one.
fn onnx_outputs(case: &serde_json::Value) -> Vec<Vec<f64>> {
    let output = case["outputs"].as_array().unwrap().last().unwrap();
    let values: Vec<f64> = output["data"].as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect();
    let rows = output["shape"][0].as_u64().unwrap() as usize;
    values.chunks(values.len() / rows).map(<[f64]>::to_vec).collect()
}

fn onnx_found(imported: &Imported, rows: &[Vec<f64>]) -> Vec<Vec<f64>> {
    if imported.targets.len() < 2 {
        return predictions(&imported.predictor(None).unwrap(), rows);
    }
    assert!(imported.predictor(None).is_err(), "a target has to be chosen");
    let targets =
        (0..imported.targets.len()).map(|target| predictions(&imported.predictor(Some(target)).unwrap(), rows));
    let targets: Vec<Vec<Vec<f64>>> = targets.collect();
    (0..rows.len()).map(|row| targets.iter().map(|target| target[row][0]).collect()).collect()
}

#[test]
fn onnx_predicts_the_same_or_is_refused() {
    let Some(folder) = shared("conformance/models/onnx") else { return };
    let index = fs::read_to_string(folder.join("index.tsv")).unwrap();
    let (mut same, mut refused) = (0, 0);
    for line in index.lines().skip(1) {
        let (name, _) = line.split_once('\t').unwrap();
        // The index lists cases that are kept elsewhere, too.
        let Ok(bytes) = fs::read(folder.join(format!("{name}.onnx"))) else { continue };
        let case: serde_json::Value =
            serde_json::from_str(&fs::read_to_string(folder.join(format!("{name}.json"))).unwrap()).unwrap();
        let width = case["input"]["shape"][1].as_u64().unwrap() as usize;
        let options = ImportOptions { features: Some(width), ..ImportOptions::default() };
        let imported = import::read(&bytes, &options);
        if case["expect"] == "fail" {
            let error = imported.unwrap_err();
            assert!(
                error.message().contains("damaged") || error.message().contains("not supported"),
                "{name}: {error}"
            );
            refused += 1;
            continue;
        }
        let imported = imported.unwrap_or_else(|error| panic!("{name}: {error}"));
        let values: Vec<f64> =
            case["input"]["data"].as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect();
        let rows: Vec<Vec<f64>> = values.chunks(width).map(<[f64]>::to_vec).collect();
        let expected = onnx_outputs(&case);
        // What the runtime's own test allows: a row of lr_two_targets_softmax expects 1 where it gives 0.999983.
        let atol = case["atol"].as_f64().unwrap();
        for (row, (found, expected)) in onnx_found(&imported, &rows).iter().zip(&expected).enumerate() {
            // Of two classes, the second is the prediction.
            let expected = if found.len() == 1 { &expected[expected.len() - 1..] } else { &expected[..] };
            assert_eq!(found.len(), expected.len(), "{name}");
            for (found, expected) in found.iter().zip(expected) {
                let off = (found - expected).abs();
                assert!(off <= atol + 1e-5 * expected.abs(), "{name} {row}: found {found}, expected {expected}");
            }
        }
        same += 1;
    }
    assert!(same >= 13 && refused >= 2, "{same} the same, {refused} refused");
}
