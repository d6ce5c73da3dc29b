//! The three files of a block: their columns and how these are encoded.

use std::sync::{Arc, LazyLock};

use parquet::{
    basic::{Compression, Encoding, ZstdLevel},
    file::properties::{
        EnabledStatistics, WriterProperties, WriterPropertiesBuilder, WriterPropertiesPtr, WriterVersion,
    },
    schema::{parser::parse_message_type, types::TypePtr},
};

pub(super) const SAMPLES: &str = "samples.parquet";
pub(super) const SERIES: &str = "series.parquet";
pub(super) const PAIRS: &str = "labels.parquet";

/// Rows of a group: what a writer holds in memory, some 20 bytes each.
pub(super) const GROUP: usize = 1 << 20;
/// Rows of a page: what is decoded at least for one sample.
const PAGE: usize = 8192;
/// Rows of a page of series.
const SERIES_PAGE: usize = 1024;

/// A table: its columns in order.
pub(crate) struct Table {
    pub(super) schema: TypePtr,
    pub(super) properties: WriterPropertiesPtr,
}

/// Values mostly repeat, or are counters and measurements: a small dictionary for the former; when that is full, bytes of
/// the same place together, which compress well.
pub(super) static SAMPLE_TABLE: LazyLock<Table> = LazyLock::new(|| {
    let properties = base()
        .set_data_page_row_count_limit(PAGE)
        .set_column_dictionary_enabled("series".into(), false)
        .set_column_encoding("series".into(), Encoding::DELTA_BINARY_PACKED)
        .set_column_dictionary_enabled("time".into(), false)
        .set_column_encoding("time".into(), Encoding::DELTA_BINARY_PACKED)
        .set_column_dictionary_enabled("value".into(), true)
        .set_column_dictionary_page_size_limit("value".into(), 16 << 10)
        .set_column_encoding("value".into(), Encoding::BYTE_STREAM_SPLIT)
        .set_column_statistics_enabled("value".into(), EnabledStatistics::None);
    table(
        "message samples {
            required int32 series (INTEGER(32,false));
            required int64 time (TIMESTAMP(MILLIS,true));
            required double value;
        }",
        properties,
    )
});

pub(super) static SERIES_TABLE: LazyLock<Table> = LazyLock::new(|| {
    let delta = |properties: WriterPropertiesBuilder, name: &str| {
        properties
            .set_column_dictionary_enabled(name.into(), false)
            .set_column_encoding(name.into(), Encoding::DELTA_BINARY_PACKED)
    };
    let properties = base()
        .set_data_page_row_count_limit(SERIES_PAGE)
        .set_column_dictionary_enabled("labels".into(), false)
        .set_column_encoding("labels".into(), Encoding::DELTA_BYTE_ARRAY)
        .set_column_statistics_enabled("labels".into(), EnabledStatistics::None);
    let numbers = ["series", "first_row", "rows", "first_time", "last_time"];
    table(
        "message series {
            required int32 series (INTEGER(32,false));
            required binary labels (JSON);
            required int64 first_row;
            required int64 rows;
            required int64 first_time (TIMESTAMP(MILLIS,true));
            required int64 last_time (TIMESTAMP(MILLIS,true));
        }",
        numbers.into_iter().fold(properties, delta),
    )
});

pub(super) static PAIR_TABLE: LazyLock<Table> = LazyLock::new(|| {
    let properties = base()
        .set_column_dictionary_enabled("value".into(), false)
        .set_column_encoding("value".into(), Encoding::DELTA_BYTE_ARRAY)
        .set_column_dictionary_enabled("series".into(), false)
        .set_column_statistics_enabled("series".into(), EnabledStatistics::None);
    table(
        "message labels {
            required binary name (STRING);
            required binary value (STRING);
            required binary series;
        }",
        properties,
    )
});

pub(crate) fn base() -> WriterPropertiesBuilder {
    WriterProperties::builder()
        .set_writer_version(WriterVersion::PARQUET_2_0)
        .set_created_by("backstay".to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3).unwrap_or_default()))
        .set_write_batch_size(PAGE / 8)
}

pub(crate) fn table(schema: &str, properties: WriterPropertiesBuilder) -> Table {
    #[allow(clippy::expect_used, reason = "the schemas are constants above, and every test reads them")]
    let schema = parse_message_type(schema).expect("a schema that parses");
    Table { schema: Arc::new(schema), properties: Arc::new(properties.build()) }
}
