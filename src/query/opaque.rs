//! A function that gives back its argument, put around what an optimizer must not draw conclusions from.

use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::common::plan_err;
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// The same value, of which an optimizer knows nothing: neither an order nor bounds.
pub(super) fn opaque(value: Expr) -> Expr {
    ScalarUDF::from(Opaque::default()).call(vec![value])
}

/// Gives back its argument.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Opaque {
    signature: Signature,
}

impl Default for Opaque {
    fn default() -> Self {
        Self { signature: Signature::any(1, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Opaque {
    fn name(&self) -> &'static str {
        "opaque"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        arguments.first().cloned().map_or_else(|| plan_err!("opaque has one argument"), Ok)
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        arguments.arg_fields.first().cloned().map_or_else(|| plan_err!("opaque has one argument"), Ok)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        arguments.args.into_iter().next().map_or_else(|| plan_err!("opaque has one argument"), Ok)
    }
}
