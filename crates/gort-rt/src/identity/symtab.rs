//! Names that a C library keeps to its file.
//!
//! Before glibc 2.34 the tables for `libthread_db` belong to libpthread, and are local there: the loader does not know their
//! names, debuggers find them in the full symbol table of the library's file. Distributions strip that table from their
//! libraries, but leave it in this one, without which no debugger could tell threads apart. So it is read here as well, once,
//! at the start, and only where the loader has no answer.
//!
//! What the file says holds for what is mapped only if the one was mapped from the other. An update may have put a new file
//! in its place since, so the first page of both must be equal: it has the ELF header, with the place of the symbol table, and
//! the build's number.

use core::ffi::{c_int, c_void, CStr};
use core::ops::Range;
use std::ffi::CString;

use crate::os;

/// The file of an object that is loaded.
#[derive(Debug)]
pub(super) struct SymbolFile {
    /// What is added to an address in the file.
    base: usize,
    bytes: Vec<u8>,
    /// Where the symbols are in the file, and their names.
    symbols: Range<usize>,
    names: Range<usize>,
}

impl SymbolFile {
    /// Reads the file of the object that holds an address. None: there is no such object, its file is another by now, or has no
    /// full symbol table.
    pub(super) fn of(address: *const c_void) -> Option<SymbolFile> {
        SymbolFile::read(&Object::of(address as usize)?)
    }

    fn read(object: &Object) -> Option<SymbolFile> {
        let bytes = contents(&object.path)?;
        if object.head.is_empty() || !bytes.starts_with(&object.head) {
            return None;
        }
        SymbolFile::parse(object.base, bytes)
    }

    fn parse(base: usize, bytes: Vec<u8>) -> Option<SymbolFile> {
        let header: libc::Elf64_Ehdr = at(&bytes, 0)?;
        let section = |index: usize| -> Option<libc::Elf64_Shdr> {
            let start = usize::try_from(header.e_shoff).ok()?;
            at(&bytes, start.checked_add(index.checked_mul(size_of::<libc::Elf64_Shdr>())?)?)
        };
        /// `SHT_SYMTAB`.
        const FULL_TABLE: u32 = 2;
        let symbols = (0..header.e_shnum.into()).filter_map(section).find(|s| s.sh_type == FULL_TABLE)?;
        let names = section(symbols.sh_link as usize)?;
        let extent = |section: &libc::Elf64_Shdr| -> Option<Range<usize>> {
            let start = usize::try_from(section.sh_offset).ok()?;
            let end = start.checked_add(usize::try_from(section.sh_size).ok()?)?;
            (end <= bytes.len()).then_some(start..end)
        };
        Some(SymbolFile { base, symbols: extent(&symbols)?, names: extent(&names)?, bytes })
    }

    /// The address of a symbol that is defined in the object.
    pub(super) fn find(&self, name: &CStr) -> Option<*mut c_void> {
        let names = &self.bytes[self.names.clone()];
        let wanted = name.to_bytes_with_nul();
        self.symbols
            .clone()
            .step_by(size_of::<libc::Elf64_Sym>())
            .map_while(|start| at::<libc::Elf64_Sym>(&self.bytes, start))
            .find(|symbol| {
                let defined = symbol.st_shndx != 0;
                defined && names.get(symbol.st_name as usize..).is_some_and(|name| name.starts_with(wanted))
            })
            .map(|symbol| self.base.wrapping_add(symbol.st_value as usize) as *mut c_void)
    }
}

/// Records of ELF files: plain numbers, for which any bytes will do.
trait Record: Copy {}
impl Record for libc::Elf64_Ehdr {}
impl Record for libc::Elf64_Shdr {}
impl Record for libc::Elf64_Sym {}

/// The record that begins at this byte, if all of it is there.
fn at<R: Record>(bytes: &[u8], start: usize) -> Option<R> {
    let record = bytes.get(start..start.checked_add(size_of::<R>())?)?;
    // SAFETY: the slice has the size of the record, which may consist of any bytes.
    Some(unsafe { record.as_ptr().cast::<R>().read_unaligned() })
}

/// A whole file, if it can be read and is of a sensible size.
fn contents(path: &CStr) -> Option<Vec<u8>> {
    const FIRST: usize = 1 << 20;
    const MOST: usize = 64 << 20;
    let mut bytes = vec![0; FIRST];
    loop {
        let length = os::read_file(path, &mut bytes).ok()?.len();
        if length < bytes.len() {
            bytes.truncate(length);
            return Some(bytes);
        }
        if length >= MOST {
            return None;
        }
        bytes.resize(2 * length, 0);
    }
}

/// An object as the loader describes it.
struct Object {
    address: usize,
    base: usize,
    path: CString,
    /// The first bytes of its file, as they are mapped.
    head: Vec<u8>,
}

impl Object {
    /// The object that holds an address.
    fn of(address: usize) -> Option<Object> {
        let mut object = Object { address, base: 0, path: CString::default(), head: Vec::new() };
        // SAFETY: the callback gets our record, which outlives the call.
        let found = unsafe { libc::dl_iterate_phdr(Some(Object::visit), (&raw mut object).cast()) };
        (found != 0).then_some(object)
    }

    unsafe extern "C" fn visit(info: *mut libc::dl_phdr_info, _size: usize, data: *mut c_void) -> c_int {
        /// A page at most, which the loader maps at least.
        const HEAD: usize = 4096;
        // SAFETY: the loader passes a description of one object, and `of` passed a record.
        let (info, object) = unsafe { (&*info, &mut *data.cast::<Object>()) };
        // SAFETY: the description says so.
        let headers = unsafe { core::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()) };
        let base = info.dlpi_addr as usize;
        let mut loads = headers.iter().filter(|header| header.p_type == libc::PT_LOAD);
        let start = |header: &libc::Elf64_Phdr| base.wrapping_add(header.p_vaddr as usize);
        if !loads.clone().any(|header| object.address.wrapping_sub(start(header)) < header.p_memsz as usize) {
            return 0;
        }
        let Some(first) = loads.find(|header| header.p_offset == 0) else { return 0 };
        let length = HEAD.min(first.p_filesz as usize);
        // SAFETY: the loader has mapped so much of the file there, and the object stays while its description is looked at.
        object.head = unsafe { core::slice::from_raw_parts(start(first) as *const u8, length) }.into();
        // SAFETY: a name in the description ends with a zero.
        let name = unsafe { CStr::from_ptr(info.dlpi_name) };
        // The program itself goes without.
        object.path = if name.is_empty() { c"/proc/self/exe" } else { name }.into();
        object.base = base;
        1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::ptr;

    /// The loader does not know a program's names, its file does.
    #[export_name = "gort_name_for_symtab"]
    static HERE: u32 = 7;
    const NAME: &CStr = c"gort_name_for_symtab";

    #[test]
    fn names_are_found_in_the_file() {
        let here = (&raw const HERE).cast::<c_void>();
        // SAFETY: looks a name up.
        assert_eq!(unsafe { libc::dlsym(libc::RTLD_DEFAULT, NAME.as_ptr()) }, ptr::null_mut());
        let file = SymbolFile::of(here).unwrap();
        assert_eq!(file.find(NAME), Some(here.cast_mut()));
        assert_eq!(file.find(c"gort_name_for_symta"), None);
        // Used, but defined elsewhere.
        assert_eq!(file.find(c"dl_iterate_phdr"), None);
    }

    #[test]
    fn a_file_that_is_another_by_now_is_not_used() {
        let mut object = Object::of((&raw const HERE) as usize).unwrap();
        assert!(SymbolFile::read(&object).is_some());
        object.head[64] ^= 1;
        assert!(SymbolFile::read(&object).is_none());
        object.path = c"/no such file".into();
        assert!(SymbolFile::read(&object).is_none());
        assert!(Object::of(0).is_none());
    }

    #[test]
    fn damaged_files_are_no_danger() {
        let object = Object::of((&raw const HERE) as usize).unwrap();
        let whole = contents(&object.path).unwrap();
        // The sections' headers are not in the first page, as a rule at the very end.
        for bytes in [&whole[..0], &whole[..63], &whole[..4096]] {
            assert!(SymbolFile::parse(object.base, bytes.to_vec()).is_none(), "{} bytes", bytes.len());
        }
        for cut in 1..20 {
            let bytes = &whole[..whole.len() - whole.len() / cut / 2];
            if let Some(file) = SymbolFile::parse(object.base, bytes.to_vec()) {
                assert!(file.find(c"no such name").is_none());
            }
        }
    }
}
