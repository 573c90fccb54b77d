//! `predict('card_fraud@champion')` in ad hoc SQL: a registered model as a function of columns.
//!
//! With no further arguments the function takes the query's columns of the model's signature, by their names;
//! `predict('m', a, b, c)` takes these, in the signature's order. Before planning, every call is rewritten into a
//! call of a function of its own, one a model, whose types are known; it runs wherever DataFusion runs an
//! expression, so it streams, and runs in parallel.

use super::diagnostic::{SqlDiagnostic, suggestion};
use super::sql::{FeatureSql, explain};
use crate::error::Result;
use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::{plan_datafusion_err, plan_err};
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::logical_expr::{
    ColumnarValue, Expr as LogicalExpr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::sql::parser::Statement as AnyStatement;
use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident, ObjectName,
    Statement, Value, ValueWithSpan, Visit, VisitMut, Visitor, VisitorMut,
};
use datafusion::sql::sqlparser::tokenizer::Span;
use std::collections::BTreeMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::ControlFlow;
use std::sync::Arc;

/// The function's name in SQL; it may be written in any case.
const PREDICT: &str = "predict";

/// What a model has to tell and to do to be a function in SQL.
pub trait ModelFunction: fmt::Debug + Send + Sync {
    /// The columns that it takes, in the order of its signature.
    fn inputs(&self) -> Vec<String>;

    /// Whether the input of this number may have this type.
    ///
    /// # Errors
    /// What it has to be instead: `category`.
    fn accepts(&self, input: usize, data_type: &DataType) -> Result<(), String>;

    /// The type of one prediction.
    fn output(&self) -> DataType;

    /// One prediction a row; null for rows that the model rejects. `rows` has the inputs as its columns.
    ///
    /// # Errors
    /// What the model's encoder fails with.
    fn predict(&self, rows: &RecordBatch) -> Result<ArrayRef>;
}

/// The models that a text calls, each once, in the order of the text: `card_fraud@champion`.
///
/// # Errors
/// A diagnostic where the text does not parse, or where a call names no model.
pub fn models_of(text: &str, file: &str) -> Result<Vec<String>, SqlDiagnostic> {
    let sql = match explain(text, file)? {
        // Its SELECT is printed anew, so places are those of the printed text.
        Some((_, inner)) => FeatureSql::parse_any(&inner, file)?,
        None => FeatureSql::parse_any(text, file)?,
    };
    let mut found = Calls { sql: &sql, models: Vec::new() };
    match sql.statement().visit(&mut found) {
        ControlFlow::Break(diagnostic) => Err(diagnostic),
        ControlFlow::Continue(()) => Ok(found.models),
    }
}

struct Calls<'a> {
    sql: &'a FeatureSql,
    models: Vec<String>,
}

impl Visitor for Calls<'_> {
    type Break = SqlDiagnostic;

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<SqlDiagnostic> {
        let Some((function, place)) = call(expr) else { return ControlFlow::Continue(()) };
        let wrong = |message: &str| {
            let hint = "write predict('model@champion'), or predict('model@champion', a, b, c)";
            ControlFlow::Break(self.sql.problem(Some(place), message).hint(hint))
        };
        if function.over.is_some() || function.filter.is_some() || !function.within_group.is_empty() {
            return wrong("predict() works row by row: it takes no OVER, FILTER or WITHIN GROUP");
        }
        match reference(function) {
            None => wrong("the first argument of predict() is a model's name in single quotes"),
            Some(model) => {
                if !self.models.iter().any(|known| known == model) {
                    self.models.push(model.to_owned());
                }
                ControlFlow::Continue(())
            }
        }
    }
}

/// The call and its place, if `expr` is a call of predict().
fn call(expr: &Expr) -> Option<(&Function, Span)> {
    let Expr::Function(function) = expr else { return None };
    let [part] = function.name.0.as_slice() else { return None };
    let ident = part.as_ident().filter(|ident| ident.value.eq_ignore_ascii_case(PREDICT))?;
    Some((function, ident.span))
}

fn arguments(function: &Function) -> Option<&FunctionArgumentList> {
    match &function.args {
        FunctionArguments::List(list) if list.duplicate_treatment.is_none() && list.clauses.is_empty() => Some(list),
        _ => None,
    }
}

/// The model that a call names.
fn reference(function: &Function) -> Option<&str> {
    match arguments(function)?.args.first()? {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(ValueWithSpan {
            value: Value::SingleQuotedString(model),
            ..
        }))) if !model.is_empty() => Some(model),
        _ => None,
    }
}

/// The models of a session, by the names that queries call them by.
#[derive(Debug, Clone, Default)]
pub(super) struct Models(BTreeMap<String, Arc<dyn ModelFunction>>);

impl Models {
    /// Makes a model known; gives its function, to be registered.
    pub(super) fn insert(&mut self, reference: &str, model: Arc<dyn ModelFunction>) -> ScalarUDF {
        self.0.insert(reference.to_owned(), Arc::clone(&model));
        ScalarUDF::new_from_impl(Predict {
            name: function_name(reference),
            reference: reference.to_owned(),
            model,
            signature: Signature::user_defined(Volatility::Immutable),
        })
    }

    /// The statement with every call of predict() as a call of its model's own function.
    ///
    /// # Errors
    /// A diagnostic for a model that is not known, and for a wrong number of arguments.
    pub(super) fn rewritten(&self, sql: &FeatureSql, mut statement: AnyStatement) -> Result<AnyStatement> {
        if self.0.is_empty() {
            return Ok(statement);
        }
        let inner: Option<&mut Statement> = match &mut statement {
            AnyStatement::Statement(inner) => Some(inner),
            AnyStatement::Explain(explained) => match explained.statement.as_mut() {
                AnyStatement::Statement(inner) => Some(inner),
                _ => None,
            },
            _ => None,
        };
        if let Some(inner) = inner
            && let ControlFlow::Break(diagnostic) = VisitMut::visit(inner, &mut Rewrite { sql, models: self })
        {
            return Err(diagnostic.into());
        }
        Ok(statement)
    }

    /// What is said where a query has no column of this name, and only a model asked for it.
    pub(super) fn missing_input(&self, sql: &FeatureSql, column: &str, there: &[&str]) -> Option<SqlDiagnostic> {
        let (reference, _) = self.0.iter().find(|(_, model)| model.inputs().iter().any(|input| input == column))?;
        let mut calls = Calls { sql, models: Vec::new() };
        let _ = sql.statement().visit(&mut calls);
        if !calls.models.contains(reference) || super::diagnostic::find_name(sql.statement(), column).is_some() {
            return None;
        }
        let place = super::diagnostic::find_name(sql.statement(), PREDICT);
        let message = format!("the model `{reference}` takes the column `{column}`, which is not there");
        Some(sql.problem(place, message).hint(suggestion(column, there, "columns")))
    }
}

fn function_name(reference: &str) -> String {
    format!("{PREDICT}('{reference}')")
}

struct Rewrite<'a> {
    sql: &'a FeatureSql,
    models: &'a Models,
}

impl VisitorMut for Rewrite<'_> {
    type Break = SqlDiagnostic;

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<SqlDiagnostic> {
        let Some((function, place)) = call(expr) else { return ControlFlow::Continue(()) };
        let Some(name) = reference(function).map(str::to_owned) else { return ControlFlow::Continue(()) };
        let Some(model) = self.models.0.get(&name) else {
            let names: Vec<&str> = self.models.0.keys().map(String::as_str).collect();
            let unknown = self.sql.problem(Some(place), format!("unknown model `{name}`"));
            return ControlFlow::Break(unknown.hint(suggestion(&name, &names, "models")));
        };
        let inputs = model.inputs();
        let Expr::Function(function) = expr else { return ControlFlow::Continue(()) };
        let FunctionArguments::List(list) = &mut function.args else { return ControlFlow::Continue(()) };
        list.args.remove(0);
        if list.args.is_empty() {
            list.args = inputs.iter().map(|input| column(input, place)).collect();
        } else if list.args.len() != inputs.len() {
            let message = format!("the model `{name}` takes {} columns, {} are given", inputs.len(), list.args.len());
            let hint = format!("in this order: {}", inputs.join(", "));
            return ControlFlow::Break(self.sql.problem(Some(place), message).hint(hint));
        }
        let mut ident = Ident::with_quote('"', function_name(&name));
        ident.span = place;
        function.name = ObjectName::from(vec![ident]);
        ControlFlow::Continue(())
    }
}

/// A column by its name, whatever characters it has; its place is the call's.
fn column(name: &str, place: Span) -> FunctionArg {
    let mut ident = Ident::with_quote('"', name);
    ident.span = place;
    FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Identifier(ident)))
}

/// One model's function.
#[derive(Debug)]
struct Predict {
    name: String,
    reference: String,
    model: Arc<dyn ModelFunction>,
    signature: Signature,
}

impl PartialEq for Predict {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && Arc::ptr_eq(&self.model, &other.model)
    }
}

impl Eq for Predict {}

impl Hash for Predict {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for Predict {
    fn name(&self) -> &str {
        &self.name
    }

    /// As it would be written, so that two calls with other columns have other names.
    fn schema_name(&self, args: &[LogicalExpr]) -> DataFusionResult<String> {
        let columns: Vec<String> = args.iter().map(|arg| arg.schema_name().to_string()).collect();
        Ok(format!("{PREDICT}('{}', {})", self.reference, columns.join(", ")))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> DataFusionResult<Vec<DataType>> {
        Ok(given.to_vec())
    }

    fn return_type(&self, given: &[DataType]) -> DataFusionResult<DataType> {
        let inputs = self.model.inputs();
        for (index, (input, data_type)) in inputs.iter().zip(given).enumerate() {
            if let Err(wanted) = self.model.accepts(index, data_type) {
                let model = &self.reference;
                return plan_err!("the model `{model}` takes `{input}` as {wanted}, not as {data_type}");
            }
        }
        Ok(self.model.output())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DataFusionResult<ColumnarValue> {
        let rows = args.number_rows;
        let arrays = args.args.iter().map(|arg| arg.to_array(rows)).collect::<DataFusionResult<Vec<_>>>()?;
        let inputs = self.model.inputs();
        if inputs.len() != arrays.len() {
            return Err(plan_datafusion_err!("the model `{}` takes {} columns", self.reference, inputs.len()));
        }
        let fields: Vec<Field> = inputs
            .into_iter()
            .zip(&arrays)
            .map(|(name, array)| Field::new(name, array.data_type().clone(), true))
            .collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)?;
        let predictions = self.model.predict(&batch).map_err(|error| DataFusionError::External(Box::new(error)))?;
        Ok(ColumnarValue::Array(predictions))
    }
}
