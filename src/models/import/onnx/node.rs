//! A node of an ONNX graph with its attributes, and tensors of constants.

use super::proto::{Message, Value};
use crate::error::Result;
use crate::models::import::{damaged, unsupported};

/// The types of elements that are known, by their numbers in `TensorProto.DataType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Element {
    Float,
    Double,
    Integer,
    Boolean,
    Text,
}

impl Element {
    /// The type of this number.
    pub fn of(number: i64) -> Result<Self> {
        Ok(match number {
            1 => Self::Float,
            2 | 3 | 4 | 5 | 6 | 7 | 12 | 13 => Self::Integer,
            8 => Self::Text,
            9 => Self::Boolean,
            11 => Self::Double,
            10 => return Err(unsupported("ONNX tensors of 16-bit floats")),
            _ => return Err(unsupported(format!("ONNX tensors of element type {number}"))),
        })
    }
}

/// A constant.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tensor {
    pub element: Element,
    pub shape: Vec<i64>,
    /// The values, row-major; empty for texts.
    pub numbers: Vec<f64>,
    pub texts: Vec<String>,
}

impl Tensor {
    /// The constant in a `TensorProto`.
    pub fn read(message: Message<'_>) -> Result<Self> {
        let kind = message.integer(2)?;
        if message.integer(14)? != 0 || message.all(13).next().is_some() {
            return Err(unsupported("ONNX tensors that lie in another file"));
        }
        let shape = message.integers(1)?;
        let expected = shape.iter().try_fold(1usize, |count, size| count.checked_mul(usize::try_from(*size).ok()?));
        let raw = message.last(9)?.map(Value::bytes).transpose()?.unwrap_or_default();
        let element = Element::of(kind)?;
        let (mut numbers, mut texts) = (Vec::new(), Vec::new());
        match (element, kind) {
            (Element::Text, _) => texts = message.texts(6)?.into_iter().map(str::to_owned).collect(),
            _ if !raw.is_empty() => numbers = raw_numbers(kind, raw)?,
            (Element::Float, _) => numbers = message.floats(4)?.into_iter().map(f64::from).collect(),
            (Element::Double, _) => numbers = message.doubles(10)?,
            (_, 7) => numbers = message.integers(7)?.into_iter().map(|number| number as f64).collect(),
            (_, 12 | 13) => numbers = message.integers(11)?.into_iter().map(|number| number as u64 as f64).collect(),
            _ => numbers = message.integers(5)?.into_iter().map(|number| f64::from(number as i32)).collect(),
        }
        if expected != Some(numbers.len() + texts.len()) {
            return Err(damaged("a tensor has another number of values than its shape says"));
        }
        Ok(Self { element, shape, numbers, texts })
    }

    /// The whole numbers that it holds.
    pub fn integers(&self) -> Option<Vec<i64>> {
        let whole = |number: &f64| (number.fract() == 0.0 && number.abs() < 9e15).then_some(*number as i64);
        self.numbers.iter().map(whole).collect()
    }
}

fn raw_numbers(kind: i64, raw: &[u8]) -> Result<Vec<f64>> {
    fn each<const N: usize>(raw: &[u8], of: impl Fn([u8; N]) -> f64) -> Option<Vec<f64>> {
        let (chunks, rest) = raw.as_chunks::<N>();
        rest.is_empty().then(|| chunks.iter().map(|chunk| of(*chunk)).collect())
    }
    let numbers = match kind {
        1 => each(raw, |bytes| f64::from(f32::from_le_bytes(bytes))),
        11 => each(raw, f64::from_le_bytes),
        2 | 9 => each(raw, |[byte]| f64::from(byte)),
        3 => each(raw, |[byte]| f64::from(byte as i8)),
        4 => each(raw, |bytes| f64::from(u16::from_le_bytes(bytes))),
        5 => each(raw, |bytes| f64::from(i16::from_le_bytes(bytes))),
        6 => each(raw, |bytes| f64::from(i32::from_le_bytes(bytes))),
        7 => each(raw, |bytes| i64::from_le_bytes(bytes) as f64),
        12 => each(raw, |bytes| f64::from(u32::from_le_bytes(bytes))),
        _ => each(raw, |bytes| u64::from_le_bytes(bytes) as f64),
    };
    numbers.ok_or_else(|| damaged("the bytes of a tensor are not a multiple of its elements"))
}

/// A node with its names.
pub(super) struct Node<'a> {
    pub domain: &'a str,
    pub operator: &'a str,
    pub inputs: Vec<&'a str>,
    pub outputs: Vec<&'a str>,
    /// The names and messages of its attributes.
    attributes: Vec<(&'a str, Message<'a>)>,
}

impl<'a> Node<'a> {
    /// The node in a `NodeProto`.
    pub fn read(message: Message<'a>) -> Result<Self> {
        let attribute = |message: Result<Message<'a>>| {
            let message = message?;
            Ok((message.text(1)?, message))
        };
        let node = Self {
            domain: message.text(7)?,
            operator: message.text(4)?,
            inputs: message.texts(1)?,
            outputs: message.texts(2)?,
            attributes: message.messages(5).map(attribute).collect::<Result<_>>()?,
        };
        // The values of an attribute may come from a function's caller; nothing here has callers.
        for (name, attribute) in &node.attributes {
            if !attribute.text(21)?.is_empty() {
                return Err(unsupported(format!("attributes that refer to others (`{name:.40}`)")));
            }
        }
        Ok(node)
    }

    /// The operator with its domain, for people to read.
    pub fn name(&self) -> String {
        let domain = if self.domain.is_empty() { "" } else { "." };
        format!("{:.60}{domain}{:.60}", self.domain, self.operator)
    }

    fn attribute(&self, name: &str) -> Option<Message<'a>> {
        self.attributes.iter().find(|(own, _)| *own == name).map(|(_, message)| *message)
    }

    pub fn has(&self, name: &str) -> bool {
        self.attribute(name).is_some()
    }

    /// A float; the other value where it is absent.
    pub fn float(&self, name: &str, otherwise: f32) -> Result<f32> {
        let Some(attribute) = self.attribute(name) else { return Ok(otherwise) };
        Ok(attribute.floats(2)?.last().copied().unwrap_or(0.0))
    }

    /// A whole number; the other value where it is absent.
    pub fn integer(&self, name: &str, otherwise: i64) -> Result<i64> {
        self.attribute(name).map_or(Ok(otherwise), |attribute| attribute.integer(3))
    }

    /// A text; the other value where it is absent.
    pub fn text(&self, name: &str, otherwise: &'a str) -> Result<&'a str> {
        self.attribute(name).map_or(Ok(otherwise), |attribute| attribute.text(4))
    }

    /// Floats; none where they are absent.
    pub fn floats(&self, name: &str) -> Result<Vec<f32>> {
        self.attribute(name).map_or(Ok(Vec::new()), |attribute| attribute.floats(7))
    }

    /// Whole numbers; none where they are absent.
    pub fn integers(&self, name: &str) -> Result<Vec<i64>> {
        self.attribute(name).map_or(Ok(Vec::new()), |attribute| attribute.integers(8))
    }

    /// Texts; none where they are absent.
    pub fn texts(&self, name: &str) -> Result<Vec<&'a str>> {
        self.attribute(name).map_or(Ok(Vec::new()), |attribute| attribute.texts(9))
    }

    /// A tensor, where it is there.
    pub fn tensor(&self, name: &str) -> Result<Option<Tensor>> {
        self.attribute(name).map(|attribute| attribute.message(5).and_then(Tensor::read)).transpose()
    }

    /// Numbers that stand in one of two attributes: as floats, or as a tensor in more precision.
    pub fn numbers(&self, floats: &str, tensor: &str) -> Result<Vec<f64>> {
        match self.tensor(tensor)? {
            Some(tensor) => Ok(tensor.numbers),
            None => Ok(self.floats(floats)?.into_iter().map(f64::from).collect()),
        }
    }
}
