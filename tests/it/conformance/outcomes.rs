//! What became of each case, by feature: the table in the README.

use super::delta::manifest_cases;
use super::made::made_cases;
use super::parquet::parquet_cases;
use crate::command::root;
use crate::shared::shared;
use std::collections::BTreeMap;
use std::fs;

/// One table, and what was found.
pub struct Outcome {
    /// What the table has that others have not.
    pub features: Vec<String>,
    /// Where it comes from and its name.
    pub name: String,
    pub result: Read,
}

/// What reading gave.
pub enum Read {
    /// All cells equal.
    Equal,
    /// All cells equal, and Polars gives the same.
    EqualInBoth,
    /// The number of rows is the one that others count, and Polars gives the same rows.
    CountedInBoth,
    /// The number of rows is the one that others count.
    Counted,
    /// Refused or failed, as it must be.
    Refused(String),
    /// Not what it must be.
    Wrong(String),
}

/// Fails with everything that is wrong, after telling about every case.
pub fn judge(outcomes: &[Outcome]) {
    let mut wrong = Vec::new();
    for Outcome { features, name, result } in outcomes {
        let features = features.join(", ");
        match result {
            Read::EqualInBoth => println!("equal    {name} ({features}), in both engines"),
            Read::CountedInBoth => println!("counted  {name} ({features}), the same in both engines"),
            Read::Equal => println!("equal    {name} ({features})"),
            Read::Counted => println!("counted  {name} ({features})"),
            Read::Refused(told) => println!("refused  {name} ({features}): {told}"),
            Read::Wrong(told) => {
                println!("WRONG    {name} ({features}): {told}");
                wrong.push(format!("{name} ({features}): {told}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), outcomes.len(), wrong.join("\n"));
}

const BEGIN: &str = "<!-- conformance: written by `LAKEMILL_BLESS=1 cargo test --release the_readme_shows` -->\n";
const END: &str = "<!-- /conformance -->";

#[tokio::test]
async fn the_readme_shows_what_became_of_every_feature() {
    let (Some(delta), Some(parquet)) = (shared("conformance/delta"), shared("conformance/parquet")) else { return };
    let mut outcomes = manifest_cases(&delta).await;
    outcomes.extend(made_cases().await);
    let parquet = parquet_cases(&parquet).await;
    let table = format!("{}\n{}", by_feature("Delta", &outcomes), by_feature("Parquet", &parquet));
    print!("{table}");
    let path = root().join("README.md");
    let readme = fs::read_to_string(&path).unwrap();
    let (before, rest) = readme.split_once(BEGIN).expect("the README has a place for the table");
    let (shown, after) = rest.split_once(END).expect("the table has an end");
    if std::env::var_os("LAKEMILL_BLESS").is_some() {
        fs::write(&path, format!("{before}{BEGIN}\n{table}\n{END}{after}")).unwrap();
    } else {
        assert_eq!(shown.trim(), table.trim(), "run with LAKEMILL_BLESS=1 to write the table into the README");
    }
}

/// A table in Markdown: a row a feature, and how many of its cases were read or refused.
fn by_feature(format: &str, outcomes: &[Outcome]) -> String {
    let mut rows: BTreeMap<&str, (usize, usize, usize, usize)> = BTreeMap::new();
    for outcome in outcomes {
        for feature in &outcome.features {
            let row = rows.entry(feature).or_default();
            match outcome.result {
                Read::Equal | Read::EqualInBoth => row.0 += 1,
                Read::Counted | Read::CountedInBoth => row.1 += 1,
                Read::Refused(_) => row.2 += 1,
                Read::Wrong(_) => {}
            }
            row.3 += usize::from(matches!(outcome.result, Read::EqualInBoth | Read::CountedInBoth));
        }
    }
    let mut text = format!(
        "| {format} tables with | read, cell by cell | read, rows counted | of these in Polars too | refused by name |\n\
         |---|---|---|---|---|\n"
    );
    let shown = |count: usize| if count == 0 { String::new() } else { count.to_string() };
    for (feature, (equal, counted, refused, both)) in rows {
        let [equal, counted, both, refused] = [equal, counted, both, refused].map(shown);
        text.push_str(&format!("| {feature} | {equal} | {counted} | {both} | {refused} |\n"));
    }
    text
}
