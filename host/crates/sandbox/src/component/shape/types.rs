//! Walks a section of component types with a stack of its own. wasmparser reads
//! a type within a type by recursion: 90 KB of them end the process.

use wasmparser::{
    BinaryReader, BinaryReaderError, ComponentAlias, ComponentExternName, ComponentImport,
    ComponentType, ComponentTypeRef, ComponentTypeSectionReader, CoreType,
};

use super::{Bound, Refused};

/// The first bytes of the two types that have types in them.
const COMPONENT: u8 = 0x41;
const INSTANCE: u8 = 0x42;

/// Refuses a section of the file `bytes` whose types are nested deeper than `nesting`.
pub(super) fn check(
    bytes: &[u8],
    section: &ComponentTypeSectionReader<'_>,
    nesting: Bound,
) -> Result<(), Refused> {
    // Behind the number of types.
    let start = section.original_position();
    let range = start..section.range().end;
    let mut reader = BinaryReader::new(bytes.get(range).unwrap_or_default(), start);
    // Declarations left to read in each type that has been begun; at the
    // bottom, the types of the section.
    let mut left = vec![section.count()];
    while let Some(count) = left.last_mut() {
        let Some(fewer) = count.checked_sub(1) else {
            left.pop();
            continue;
        };
        *count = fewer;
        if left.len() > 1 && !begins_type(&mut reader)? {
            continue;
        }
        match peek(&reader)? {
            COMPONENT | INSTANCE => {
                reader.read_u8()?;
                left.push(reader.read_var_u32()?);
                nesting.check(left.len() as u64 - 1)?;
            }
            _ => {
                reader.read::<ComponentType<'_>>()?;
            }
        }
    }
    Ok(())
}

/// Reads a declaration up to the type that it declares, or whole where it
/// declares something else.
fn begins_type(reader: &mut BinaryReader<'_>) -> Result<bool, BinaryReaderError> {
    match reader.read_u8()? {
        0x00 => reader.read::<CoreType<'_>>().map(drop)?,
        0x02 => reader.read::<ComponentAlias<'_>>().map(drop)?,
        0x03 => reader.read::<ComponentImport<'_>>().map(drop)?,
        0x04 => {
            reader.read::<ComponentExternName<'_>>()?;
            reader.read::<ComponentTypeRef>()?;
        }
        // A type; what is neither is refused when it is read as one.
        _ => return Ok(true),
    }
    Ok(false)
}

fn peek(reader: &BinaryReader<'_>) -> Result<u8, BinaryReaderError> {
    reader.clone().read_u8()
}
